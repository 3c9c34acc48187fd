"""The body of ``harness.tune``: prepare, search, show the boards."""

import json
from collections.abc import Sequence

from rich.console import Console

from harness.command_line import DONE, TRIAL_FAILED
from harness.config import TuneOptions, plain
from harness.leaderboard.protocols import is_oracle
from harness.leaderboard.records import ends, scored_directions
from harness.leaderboard.store import replacing
from harness.search.driver import SearchDriver
from harness.search.pair_search import StudyPlan
from harness.search.progress import SearchProgress, board_table, failure_table
from harness.search.samplers import describe_sampler
from harness.search.studies import Prepared, prepare_studies

DEFAULT_GPU_SHARE = 0.25


def run_search_command(options: TuneOptions, console: Console) -> int:
    """Searches and shows what came of it; returns the exit code."""
    with console.status("Reading the data set") as status:
        prepared = prepare_studies(
            options,
            trials=options.trials,
            sampler=describe_sampler("tpe"),
            early_stopping="none",
            progress=status.update,
        )
    for note in prepared.notes:
        console.print(note, style="yellow", soft_wrap=True, markup=False)
    prepared.store.open_for_writing(prepared.data.index)
    try:
        driver = _search(options, prepared, console)
    finally:
        prepared.store.close()
    return _show_outcome(options, prepared, driver, console)


def _search(options: TuneOptions, prepared: Prepared, console: Console) -> SearchDriver:
    progress = SearchProgress(console, prepared.context.first_metric)
    driver = SearchDriver(
        prepared.plans,
        prepared.pairs,
        prepared.data.index,
        prepared.store,
        prepared.storage,
        prepared.context,
        on_end=progress.ended,
    )
    name = "+".join(plan.config.study_id for plan in prepared.plans)
    with replacing(prepared.store.root / "config" / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(plain(options), indent=1))
    if driver.missing:
        # Ray takes seconds to import and to start: a search that is complete needs neither.
        from harness.search.ray_run import run_search

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
                on_step=progress.step,
            )
        finally:
            progress.stop()
            driver.write_boards()
    else:
        driver.write_boards()
    return driver


def _announcement(driver: SearchDriver, prepared: Prepared) -> str:
    pairs = len(prepared.pairs)
    sentence = f"{driver.total} trials over {pairs} pair{'s' if pairs > 1 else ''}"
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
    for pair in prepared.pairs:
        for direction in scored_directions(options.scenario):
            query, gallery = ends(pair, direction)
            rows = store.read_board(query, gallery)
            metrics = [*(f"P@{k}" for k in store.ks), "mAP@All"]
            console.print()
            console.print(board_table(f"{query} → {gallery}", rows, metrics, searched))
    for search in driver.searches.values():
        if search.exhausted:
            console.print(
                f"{'-'.join(search.pair)}: all {len(search.records)} distinct settings of the "
                f"space are tried, so --trials {search.plan.trials} is not reached.",
                soft_wrap=True,
            )
    failures = failure_table(driver.ended_now)
    if failures is not None:
        console.print(failures)
    console.print(f"Leaderboards: {store.board_folder}", soft_wrap=True)
    return DONE if failures is None else TRIAL_FAILED
