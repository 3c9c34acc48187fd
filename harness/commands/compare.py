"""The body of ``harness.compare``: several methods under one budget, and their tuning curves.

It is the search of ``harness.tune`` with several methods: the same flags give the same study ids,
so that the two commands share their results.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import count
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.commands.progress import OPEN_SHOWN
from harness.commands.search import run_search_command
from harness.commands.tables import interval_table
from harness.config import Pair
from harness.datasets.scenario import pair_slug
from harness.errors import UsageError
from harness.leaderboard.schema import OPEN_METRICS
from harness.options import CompareOptions, TuneOptions
from harness.plan.start_points import distinct_settings, start_count
from harness.plan.studies import Prepared
from harness.plan.study_plan import StudyPlan
from harness.records import TrialRecord, ends, scored_directions
from harness.statistics.intervals import FILE as INTERVALS
from harness.statistics.intervals import intervals, write_intervals
from harness.statistics.tuning_curves import (
    CONFIDENCE,
    EXCHANGEABLE,
    EXCHANGEABLE_SAMPLERS,
    FILE,
    MIN_TRIALS,
    OBSERVED,
    study_curves,
    write_curves,
)


def run_compare_command(options: CompareOptions, console: Console) -> int:
    """Searches with every method, shows boards and tuning curves; returns the exit code."""
    return run_search_command(search_options(options), console, summarise=_summarise)


def search_options(options: CompareOptions) -> TuneOptions:
    """The flags of the ``harness.tune`` that does the same search.

    Raises:
        UsageError: fewer than two methods.
    """
    named = [name.strip() for name in options.methods.split(",")] if options.methods else []
    methods = tuple(dict.fromkeys(name for name in named or options.method if name))
    if len(methods) < 2:
        raise UsageError(
            "A comparison takes two methods or more, such as --methods ucdir,protoot; "
            "python -m harness.tune searches with one."
        )
    flags = {item.name: getattr(options, item.name) for item in fields(TuneOptions)}
    return TuneOptions(**flags | {"method": methods})


def _summarise(prepared: Prepared) -> list[RenderableType]:
    """Writes the curves while the results folder is locked; returns what to show of them."""
    store, study_ids = prepared.store, [plan.config.study_id for plan in prepared.plans]
    records = store.read_trials(study_ids)
    scenario = prepared.plans[0].config.scenario
    of_open = scenario == "open"
    metrics = [*(f"P@{k}" for k in store.ks), "mAP@All", *(OPEN_METRICS if of_open else ())]
    rows = study_curves(records, metrics)
    write_curves(store.root, study_ids, rows)
    ways = [
        ends(pair, direction)
        for pair in prepared.pairs
        for direction in scored_directions(scenario)
    ]
    primary = prepared.context.primary_metric
    banded, short = with_band(prepared.plans, prepared.pairs, rows, primary)
    notes = [*budget_notes(prepared, records), *band_notes(prepared, records, short)]
    parts: list[RenderableType] = [Text(sentence, style="yellow") for sentence in notes]
    for metric in (primary, *(OPEN_SHOWN if of_open else ())):
        if any(row["metric"] == metric for row in banded):
            parts.append(curve_table(banded, ways, study_ids, metric))
    parts.append(Text(f"Tuning curves: {store.root / FILE}"))
    differences = [
        row
        for query, gallery in ways
        for row in intervals(store.root, store.read_board(query, gallery), study_ids, primary)
    ]
    if differences:
        write_intervals(store.root, study_ids, differences)
        parts += [
            interval_table(differences, primary),
            Text(f"Intervals: {store.root / INTERVALS}"),
        ]
    return parts


def with_band(
    plans: Sequence[StudyPlan],
    pairs: Sequence[Pair],
    rows: Sequence[Mapping[str, Any]],
    metric: str,
) -> tuple[list[Mapping[str, Any]], dict[str, list[Pair]]]:
    """The rows worth a table, and by study id the pairs whose trials are too few for a band.

    Methods with nothing to search have one trial and no band by nature: their rows are context,
    kept where a curve is.

    Args:
        plans: the studies compared.
        pairs: their pairs.
        rows: of :func:`harness.statistics.tuning_curves.study_curves`.
        metric: whose band is looked for.
    """
    banded = {
        (row["study_id"], row["pair"])
        for row in rows
        if row["metric"] == metric and row["confidence"] is not None
    }
    searching = {plan.config.study_id for plan in plans if plan.space}
    short = {
        study_id: [pair for pair in pairs if (study_id, pair_slug(*pair)) not in banded]
        for study_id in sorted(searching)
    }
    curved = {pair for study_id, pair in banded if study_id in searching}
    kept = [
        row
        for row in rows
        if ((row["study_id"], row["pair"]) in banded)
        or (row["study_id"] not in searching and (row["pair"] in curved or not searching))
    ]
    return kept, {study_id: lacking for study_id, lacking in short.items() if lacking}


def band_notes(
    prepared: Prepared, records: Iterable[TrialRecord], short: Mapping[str, Sequence[Pair]]
) -> list[str]:
    """What a band takes, a sentence for all studies that lack the same.

    Args:
        prepared: the comparison.
        records: its ended trials.
        short: of :func:`with_band`.
    """
    stopped = {record.config.study.study_id for record in records if record.status == "pruned"}
    lacking: dict[tuple[str, tuple[Pair, ...]], list[str]] = {}
    for plan in prepared.plans:
        study_id = plan.config.study_id
        if study_id in short:
            reason = _what_lacks(plan, trials_for_band(plan, stopped=study_id in stopped))
            key = (reason, tuple(short[study_id]))
            lacking.setdefault(key, []).append(plan.config.method)
    notes = []
    for (reason, pairs), methods in lacking.items():
        where = ", ".join("-".join(pair) for pair in pairs)
        on = "" if len(pairs) == len(prepared.pairs) else f" on {where}"
        notes.append(
            f"No tuning curve of {', '.join(methods)}{on} is shown: a band takes {MIN_TRIALS} "
            f"finished trials that could have come in any order, {reason}."
        )
    return notes


def trials_for_band(plan: StudyPlan, *, stopped: bool) -> int:
    """The least ``--trials`` that has a band if none fails.

    Args:
        plan: the study.
        stopped: whether one of its trials was stopped early, so that of any sampler's trials only
            the start trials count.
    """
    sampler = plan.config.sampler.partition("(")[0]
    if sampler in EXCHANGEABLE_SAMPLERS and not stopped:
        return MIN_TRIALS + 1  # trial 0 is the paper's point
    return next(trials for trials in count(1) if start_count(trials) > MIN_TRIALS)


def _what_lacks(plan: StudyPlan, needed: int) -> str:
    settings = distinct_settings(plan.space)
    if settings < needed:
        return f"more than a space of {settings:.0f} settings has"
    if plan.trials < needed:
        return f"which is --trials {needed} or more"
    return "and fewer have finished so far"


def budget_notes(prepared: Prepared, records: Iterable[TrialRecord]) -> list[str]:
    """A sentence per pair on which the methods have not ended equally many trials.

    The time was up, a space has fewer settings, or a study went further in an earlier run. Methods
    with nothing to search are left out: their one trial is all there is.
    """
    searching = [plan for plan in prepared.plans if plan.space]
    ended = {pair: {plan.config.study_id: 0 for plan in searching} for pair in prepared.pairs}
    for record in records:
        counts = ended.get(record.config.pair, {})
        if record.config.study.study_id in counts:
            counts[record.config.study.study_id] += 1
    notes = []
    for pair, counts in ended.items():
        if len(set(counts.values())) > 1:
            told = ", ".join(
                f"{plan.config.method} {counts[plan.config.study_id]}" for plan in searching
            )
            notes.append(
                f"{'-'.join(pair)}: the methods have not ended equally many trials ({told}); set "
                "their curves side by side at the same n, not their rows."
            )
    return notes


def curve_table(
    rows: Sequence[Mapping[str, Any]],
    directed: Sequence[tuple[str, str]],
    study_ids: Sequence[str],
    metric: str,
) -> Table:
    """A curve at n = 1, at half of its trials and at its end, one line per way and method.

    Args:
        rows: of :func:`harness.statistics.tuning_curves.study_curves`.
        directed: query and gallery domains, in the order shown.
        study_ids: one per method, in the order shown.
        metric: the figure.
    """
    table = Table(
        title=f"{metric} of the trial that the objective picks among n, expected, with a "
        f"{CONFIDENCE:.0%} band over exchangeable trials",
        title_style="bold",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    for heading in ("query → gallery", "method", "basis"):
        table.add_column(heading, no_wrap=True)
    for heading in ("n = 1", "half", "all"):
        table.add_column(heading, justify="right", no_wrap=True)
    by_curve: dict[tuple[str, str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["metric"] == metric:
            key = (row["query"], row["gallery"], row["study_id"], row["basis"])
            by_curve.setdefault(key, []).append(row)
    bases = (EXCHANGEABLE, OBSERVED)
    for query, gallery in directed:
        for study_id in study_ids:
            curves = [by_curve.get((query, gallery, study_id, basis)) for basis in bases]
            curve = next((rows for rows in curves if rows), None)
            if curve is None:
                continue
            picked = (curve[0], curve[(len(curve) + 1) // 2 - 1], curve[-1])
            table.add_row(
                escape(f"{query} → {gallery}"),
                curve[0]["method"],
                curve[0]["basis"],
                *(escape(_end(row)) for row in picked),
            )
    return table


def _end(row: Mapping[str, Any]) -> str:
    """``n 4: 61.2 [58.0, 63.1]``."""
    value = "none finished" if row["value"] is None else f"{row['value']:.1f}"
    band = "" if row["low"] is None else f" [{row['low']:.1f}, {row['high']:.1f}]"
    return f"n {row['n']}: {value}{band}"
