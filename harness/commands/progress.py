"""What a search shows in the terminal: a line per ended trial, a live status, the final board."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.config import StudyConfig
from harness.leaderboard.board import COMPARABLE, BoardContext, question
from harness.records import TrialRecord
from harness.search.driver import SearchDriver
from harness.selection.protocols import oracle_value

SYMBOLS = {"K": "K", "tau": "τ", "lambda_dd": "λdd", "lambda_se": "λse"}
OPEN_SHOWN = ("open_acc", "open_balanced_acc", "mAP@All.shared")
"""The figures of the scenario ``open`` that a terminal has room for."""

HEADINGS = {"open_balanced_acc": "open_\nbalanced_acc", "mAP@All.shared": "mAP@All\n.shared"}
"""Headings in two lines of metrics whose names are longer than their figures by far."""

LONGEST_LIST = 24

STATUS_STYLE = {"finished": "green", "pruned": "yellow", "failed": "bold red"}


def show_settings(config_params: Mapping[str, Any], names: Sequence[str]) -> str:
    """``K 12  τ 0.2 ...`` of the named parameters."""
    parts = []
    for name in names:
        value = config_params[name]
        shown = f"{value:.3g}" if isinstance(value, float) else str(value)
        parts.append(f"{SYMBOLS.get(name, name)} {shown}")
    return "  ".join(parts)


def show_seconds(seconds: float) -> str:
    """``38 s``, ``12:05`` or ``3:10:42``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class SearchProgress:
    """Draws a search on a terminal; on a pipe it prints the lines alone."""

    def __init__(self, console: Console, first_metric: str) -> None:
        self._console = console
        self._metric = first_metric
        self._driver: SearchDriver | None = None
        self._started = time.monotonic()
        self._live: Live | None = None
        self._drawn = 0.0

    def start(self, driver: SearchDriver) -> None:
        """Begins to draw."""
        self._driver = driver
        if self._console.is_terminal:
            self._live = Live(
                self._status(), console=self._console, auto_refresh=False, transient=True
            )
            self._live.start()

    def stop(self) -> None:
        """Takes the live status away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def step(self) -> None:
        """Redraws the status, four times a second at most."""
        now = time.monotonic()
        if self._live is not None and now - self._drawn > 0.25:
            self._drawn = now
            self._live.update(self._status(), refresh=True)

    def ended(self, record: TrialRecord) -> None:
        """Prints the line of an ended trial, and the cause under one that failed."""
        assert self._driver is not None
        config = record.config
        width = len(str(self._driver.total))
        joint = "-" if config.study.scenario == "close" else "→"
        line = Text.assemble(
            (f"{self._driver.ended:>{width}}/{self._driver.total}  ", "dim"),
            joint.join(config.pair),
            f"  {config.study.method} #{config.number}  ",
            (f"{config.trial_id.rpartition('.')[2]}  " if config.confirms else "", "magenta"),
            (f"{record.status:<8}", STATUS_STYLE[record.status]),
            f"  {self._outcome(record)}",
            (f"  {show_settings(config.params, config.searched)}", "cyan"),
            (f"  {show_seconds(record.seconds)}", "dim"),
        )
        self._console.print(line, soft_wrap=True)
        if record.status == "failed":
            self._console.print(
                Text(
                    f"    {record.error_type}: {record.error_last_line}"
                    + (f"  (at {record.error_frame})" if record.error_frame else ""),
                    style="red",
                ),
                soft_wrap=True,
            )

    def _outcome(self, record: TrialRecord) -> str:
        last = record.last
        if last is None:
            return "no epoch"
        objective = record.config.study.objective
        text = f"{objective} {last.objective:.3f}"
        by_labels = oracle_value(last, self._metric)
        if objective.partition(":")[0] != "oracle" and not math.isnan(by_labels):
            start = record.epochs.get(0)
            before = "" if start is None else f"{oracle_value(start, self._metric):.1f}→"
            text += f"  ({self._metric} {before}{by_labels:.1f})"
        return text

    def _status(self) -> Text:
        assert self._driver is not None
        failed = sum(record.status == "failed" for record in self._driver.ended_now)
        return Text.assemble(
            ("● ", "green"),
            f"{self._driver.running} running · {self._driver.ended} of {self._driver.total} ended",
            (f" · {failed} failed", "red") if failed else "",
            f" · {show_seconds(time.monotonic() - self._started)}",
        )


def failure_table(records: Sequence[TrialRecord]) -> Table | None:
    """The trials that failed, with their causes; None without any."""
    failed = [record for record in records if record.status == "failed"]
    if not failed:
        return None
    table = Table(title=f"{len(failed)} failed", title_style="bold red", title_justify="left")
    for heading in ("trial", "settings", "cause", "where"):
        table.add_column(heading, overflow="fold")
    for record in failed:
        table.add_row(
            escape(record.config.trial_id),
            show_settings(record.config.params, record.config.searched),
            escape(f"{record.error_type}: {record.error_last_line}"),
            escape(record.error_frame),
        )
    return table


def comparable_rows(
    rows: Sequence[Mapping[str, Any]], study: StudyConfig
) -> list[Mapping[str, Any]]:
    """The rows of a board that may be set beside a study's own: other methods' too.

    They answer the same question; chance, which knows no network, that of the same images.
    """
    asked = {name: getattr(study, name) for name in COMPARABLE} | {"weights": study.weights_name}
    of_images = ("scenario", "scenario_seed", "fingerprint")
    return [
        row
        for row in rows
        for names in (of_images if row["kind"] == "chance" else COMPARABLE,)
        if question(row, names) == question(asked, names)
    ]


def board_metrics(context: BoardContext, scenario: str) -> list[str]:
    """The metrics that a printed board shows; a leaderboard file holds more.

    Under ``open`` mAP@All, which only averages over queries of shared classes, is shown by its
    name there, mAP@All.shared.
    """
    if scenario == "open":
        return list(dict.fromkeys([context.first_metric, context.primary_metric, *OPEN_SHOWN]))
    return [*(f"P@{k}" for k in context.ks), "mAP@All"]


def board_table(
    title: str, rows: Sequence[Mapping[str, Any]], metrics: Sequence[str], searched: Sequence[str]
) -> Table:
    """The leaderboard rows of one directed pair; floors that read the same become one row."""
    table = Table(title=escape(title), title_style="bold", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("rank", justify="right", no_wrap=True, min_width=4)
    for heading in ("protocol", "method"):
        table.add_column(heading, no_wrap=True)
    for metric in metrics:
        table.add_column(HEADINGS.get(metric, metric), justify="right", no_wrap=True)
    for heading in ("gap", "epoch"):
        table.add_column(heading, justify="right", no_wrap=True)
    if searched:
        table.add_column("settings", no_wrap=True)
    per_line = 2 if HEADINGS.keys() & set(metrics) else len(searched)
    everyone = {row["method"] for row in rows if row["kind"] != "chance"}
    # By what is printed beside the method: the cells, of one row or of several floors.
    lines: dict[tuple[Any, ...], list[str]] = {}
    for place, row in enumerate(rows):
        cells = (
            *(_with_spread(row, metric) for metric in metrics),
            _show(row.get("oracle_gap")),
            "" if row["kind"] == "floor" else _show(row.get("epoch")),
            *([_settings_cell(row, searched, per_line)] if searched else []),
        )
        own_line = "" if row["kind"] == "floor" else place
        key = (own_line, row["kind"], _show(row["rank"]), row["protocol"], cells)
        lines.setdefault(key, []).append(row["method"])
    for (_, kind, rank, protocol, cells), methods in lines.items():
        style = {"floor": "dim", "chance": "dim"}.get(kind, "")
        table.add_row(rank, protocol, _methods_cell(methods, everyone), *cells, style=style)
    return table


def _settings_cell(row: Mapping[str, Any], searched: Sequence[str], per_line: int) -> str:
    given = [name for name in searched if row.get(name) is not None]
    parts = [given[i : i + per_line] for i in range(0, len(given), per_line)]
    return "\n".join(show_settings(row, names) for names in parts)


def _methods_cell(methods: Sequence[str], everyone: set[str]) -> str:
    """A method's name; of several their names, or how many there are."""
    names = list(dict.fromkeys(methods))
    if len(names) == 1:
        return names[0]
    if everyone <= set(names):
        return "all"
    listed = ", ".join(names)
    return listed if len(listed) <= LONGEST_LIST else f"{len(names)} methods"


def metric_table(
    title: str, columns: Mapping[str, Mapping[str, float]], names: Sequence[str]
) -> Table:
    """Metrics as rows, states of a training as columns."""
    table = Table(title=title, title_style="bold", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for name in names:
        if any(name in metrics for metrics in columns.values()):
            table.add_row(name, *(_show(metrics.get(name)) for metrics in columns.values()))
    return table


def _with_spread(row: Mapping[str, Any], metric: str) -> str:
    """``71.2 ± 0.8`` of a confirmed row."""
    spread = row.get(f"{metric}.std")
    return _show(row.get(metric)) + ("" if spread is None else f" ± {spread:.1f}")


def _show(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if isinstance(value, float) else str(value)
