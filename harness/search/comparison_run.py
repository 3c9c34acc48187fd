"""The body of ``harness.compare``: several methods under one budget, and their tuning curves.

It is the search of ``harness.tune`` with several methods: the same flags give the same study ids,
so that the two commands share their results.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.config import CompareOptions, TuneOptions
from harness.errors import UsageError
from harness.leaderboard.records import TrialRecord, ends, scored_directions
from harness.leaderboard.tuning_curves import (
    CONFIDENCE,
    EXCHANGEABLE,
    FILE,
    OBSERVED,
    study_curves,
    write_curves,
)
from harness.search.run import run_search_command
from harness.search.studies import Prepared


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
    held = {item.name: getattr(options, item.name) for item in fields(TuneOptions)}
    return TuneOptions(**held | {"method": methods})


def _summarise(prepared: Prepared) -> list[RenderableType]:
    """Writes the curves while the results folder is locked; returns what to show of them."""
    store, study_ids = prepared.store, [plan.config.study_id for plan in prepared.plans]
    records = store.read_trials(study_ids)
    metrics = [*(f"P@{k}" for k in store.ks), "mAP@All"]
    rows = study_curves(records, metrics)
    write_curves(store.root, study_ids, rows)
    scenario = prepared.plans[0].config.scenario
    shown = [
        ends(pair, direction)
        for pair in prepared.pairs
        for direction in scored_directions(scenario)
    ]
    parts: list[RenderableType] = [
        Text(sentence, style="yellow") for sentence in budget_notes(prepared, records)
    ]
    return [
        *parts,
        curve_table(rows, shown, study_ids, prepared.context.primary_metric),
        Text(f"Tuning curves: {store.root / FILE}"),
    ]


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
        rows: of :func:`harness.leaderboard.tuning_curves.study_curves`.
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
            curve = next((held for held in curves if held), None)
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
