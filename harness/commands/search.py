"""The body of ``harness.tune``: prepare, search, show the boards."""

import json
import math
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console, RenderableType

from harness.command_line import DONE, TRIAL_FAILED
from harness.commands.progress import (
    SearchProgress,
    board_metrics,
    board_table,
    comparable_rows,
    failure_table,
)
from harness.config import content_hash, plain
from harness.datasets.verify import verification_table
from harness.errors import UsageError
from harness.leaderboard.floors import verdict
from harness.options import TrainOptions, TuneOptions
from harness.plan.samplers import describe_sampler, keeps_state
from harness.plan.studies import Prepared, prepare_studies
from harness.plan.study_plan import StudyPlan
from harness.records import ends, scored_directions
from harness.search.driver import SearchDriver
from harness.selection.protocols import is_oracle
from harness.versions import git_commit
from harness.whole_files import replacing

DEFAULT_GPU_SHARE = 0.25
LONGEST_NAME = 200
DURATIONS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def run_search_command(
    options: TuneOptions,
    console: Console,
    *,
    summarise: Callable[[Prepared], Sequence[RenderableType]] = lambda prepared: (),
) -> int:
    """Searches and shows what came of it; returns the exit code.

    Args:
        options: the flags.
        console: where it is shown.
        summarise: called after the search, while the results folder is still locked for this
            process; what it returns is shown after the boards.
    """
    deadline = None if options.time_budget is None else read_duration(options.time_budget)
    with console.status("Reading the data set") as status:
        prepared = prepare_studies(
            options,
            trials=options.trials,
            sampler=describe_sampler(options.sampler),
            scope=options.scope,
            ranges=options.space,
            progress=status.update,
        )
    show_prepared(prepared, console)
    prepared.store.open_for_writing(prepared.data.index)
    try:
        driver = _search(options, prepared, console, deadline)
        summary = summarise(prepared)
    finally:
        prepared.store.close()
    code = _show_outcome(options, prepared, driver, console)
    for part in summary:
        console.print(part, soft_wrap=True)
    return code


def read_duration(text: str) -> float:
    """Seconds of ``90s``, ``30m``, ``2h`` or a plain number of seconds.

    Raises:
        UsageError: anything else.
    """
    number, unit = (text[:-1], text[-1]) if text[-1:] in DURATIONS else (text, "s")
    try:
        seconds = float(number) * DURATIONS[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise UsageError(f"--time-budget takes a time such as 90s, 30m or 2h, not '{text}'.")
    return seconds


def _search(
    options: TuneOptions, prepared: Prepared, console: Console, budget: float | None
) -> SearchDriver:
    progress = SearchProgress(console, prepared.context.first_metric)
    driver = SearchDriver(
        prepared.plans,
        prepared.pairs,
        prepared.data.index,
        prepared.store,
        prepared.storage,
        prepared.context,
        on_end=progress.ended,
        retry_failed=options.retry_failed,
        confirm=options.confirm,
        command_line=command_line(),
        git_commit=git_commit(),
    )
    write_config(options, prepared)
    if driver.ended and driver.missing and keeps_state(describe_sampler(options.sampler)):
        console.print(
            f"The sampler {options.sampler} starts anew from the {driver.ended} trials that have "
            "ended: what it kept beside them in the earlier run is lost.",
            style="yellow",
            soft_wrap=True,
        )
    if driver.missing:
        # Ray takes seconds to import and to start: a search that is complete needs neither.
        from harness.cluster.tune_run import run_search

        console.print(_announcement(driver, prepared), soft_wrap=True)
        progress.start(driver)
        try:
            run_search(
                driver,
                prepared.data,
                prepared.storage,
                cpus_per_trial=options.cpus_per_trial,
                gpus_per_trial=_gpu_share(options, prepared.plans),
                max_concurrent=options.max_concurrent,
                time_budget=budget,
                address=options.address,
                on_step=progress.step,
                on_note=lambda note: console.print(
                    note, style="yellow", soft_wrap=True, markup=False
                ),
            )
        finally:
            progress.stop()
            driver.finish()
    else:
        driver.finish()
    return driver


def show_prepared(prepared: Prepared, console: Console) -> None:
    """Says what was found: a complete data set in one line, another one as a table; the notes."""
    verification = prepared.verification
    if verification.complete is False:
        console.print(verification_table(verification))
    else:
        console.print(verification.summary, soft_wrap=True)
    for note in prepared.notes:
        console.print(note, style="yellow", soft_wrap=True, markup=False)


def write_config(options: TrainOptions, prepared: Prepared) -> None:
    """Writes the flags of a run as the JSON that ``--config`` reads."""
    name = config_name([plan.config.study_id for plan in prepared.plans])
    with replacing(prepared.store.root / "config" / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(plain(options), indent=1))


def command_line() -> str:
    """The command as it was given, to be quoted in the rows of what it trains."""
    module = sys.modules["__main__"].__spec__
    program = ["python", "-m", module.name] if module else [Path(sys.argv[0]).name]
    return shlex.join([*program, *sys.argv[1:]])


def config_name(study_ids: Sequence[str]) -> str:
    """Name of the file of a run's flags; file systems take no name of twenty study ids."""
    name = "+".join(study_ids)
    if len(name) <= LONGEST_NAME:
        return name
    return f"{len(study_ids)}-methods-{content_hash(study_ids)[:8]}"


def _announcement(driver: SearchDriver, prepared: Prepared) -> str:
    pairs = len(prepared.pairs)
    trials = f"{driver.total} trial{'s' if driver.total > 1 else ''}"
    sentence = f"{trials} over {pairs} pair{'s' if pairs > 1 else ''}"
    if len(prepared.plans) > 1:
        sentence += f" and {len(prepared.plans)} methods"
    if driver.ended:
        sentence += f", {driver.ended} of them done before"
    if is_oracle(prepared.plans[0].config.objective):
        return f"{sentence}. The objective reads labels: only paper and oracle rows come of it."
    return f"{sentence}. Figures in brackets come from labels and steer nothing."


def _gpu_share(options: TuneOptions, plans: Sequence[StudyPlan]) -> float:
    if plans[0].config.device_type != "cuda":
        return 0.0
    return DEFAULT_GPU_SHARE if options.gpus_per_trial is None else options.gpus_per_trial


def _show_outcome(
    options: TuneOptions, prepared: Prepared, driver: SearchDriver, console: Console
) -> int:
    store = prepared.store
    searched = list(dict.fromkeys(name for plan in prepared.plans for name in plan.paper))
    metrics = board_metrics(prepared.context, options.scenario)
    for pair in prepared.pairs:
        for direction in scored_directions(options.scenario):
            query, gallery = ends(pair, direction)
            rows = comparable_rows(store.read_board(query, gallery), prepared.plans[0].config)
            title = f"{query} → {gallery}"
            if options.scenario != "close":
                title += f", scenario {options.scenario}"
            console.print()
            console.print(board_table(title, rows, metrics, searched))
            untrained_is_best = verdict(rows, prepared.context.primary_metric)
            if untrained_is_best:
                console.print(untrained_is_best, style="yellow", soft_wrap=True, markup=False)
    if driver.halted:
        console.print(
            f"Stopped before the end: {driver.ended} of {driver.total} trials have ended. The same "
            "command goes on.",
            soft_wrap=True,
        )
    for scope in driver.scopes:
        tried = len(scope.books[0].ended)
        is_done = scope.exhausted and not any(book.running for book in scope.books)
        if is_done and tried < scope.plan.trials:
            console.print(
                f"{', '.join('-'.join(book.pair) for book in scope.books)}: all "
                f"{tried} distinct settings of the space are tried, "
                f"so --trials {scope.plan.trials} is not reached.",
                soft_wrap=True,
            )
    failures = failure_table(driver.ended_now)
    if failures is not None:
        console.print(failures)
    console.print(f"Leaderboards: {store.board_folder}", soft_wrap=True)
    return DONE if failures is None else TRIAL_FAILED
