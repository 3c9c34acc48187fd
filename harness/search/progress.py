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

from harness.leaderboard.protocols import oracle_value
from harness.leaderboard.records import TrialRecord
from harness.search.driver import SearchDriver

SYMBOLS = {"K": "K", "tau": "τ", "lambda_dd": "λdd", "lambda_se": "λse"}
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


def board_table(
    title: str, rows: Sequence[Mapping[str, Any]], metrics: Sequence[str], searched: Sequence[str]
) -> Table:
    """The leaderboard rows of one directed pair."""
    table = Table(title=title, title_style="bold", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("rank", justify="right")
    for heading in ("protocol", "method"):
        table.add_column(heading, no_wrap=True)
    for metric in metrics:
        table.add_column(metric, justify="right", no_wrap=True)
    for heading in ("gap", "epoch"):
        table.add_column(heading, justify="right", no_wrap=True)
    if searched:
        table.add_column("settings", no_wrap=True)
    for row in rows:
        settings = {name: row[name] for name in searched if row.get(name) is not None}
        table.add_row(
            _show(row["rank"]),
            row["protocol"],
            row["method"],
            *(_with_spread(row, metric) for metric in metrics),
            _show(row.get("oracle_gap")),
            _show(row.get("epoch")),
            *([show_settings(settings, list(settings))] if searched else []),
            style={"floor": "dim", "chance": "dim"}.get(row["kind"], ""),
        )
    return table


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
