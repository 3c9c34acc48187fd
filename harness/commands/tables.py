"""Shows by how much confirmed rows differ."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from harness.statistics.intervals import CONFIDENCE

SHOWN = "last"
"""The protocol whose rows are shown; the file has all of them."""


def interval_table(rows: Iterable[Mapping[str, Any]], metric: str) -> Table:
    """The differences of the ``last`` rows, one line each.

    Args:
        rows: of :func:`harness.statistics.intervals.intervals`.
        metric: the figure they are of.
    """
    table = Table(
        title=f"{metric} of `{SHOWN}` rows: difference of confirmed means with a "
        f"{CONFIDENCE:.0%} interval over classes and seeds",
        title_style="bold",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    table.add_column("query → gallery", no_wrap=True)
    table.add_column("better", no_wrap=True)
    table.add_column("than", no_wrap=True)
    table.add_column("seeds", justify="right", no_wrap=True)
    table.add_column("by", justify="right", no_wrap=True)
    table.add_column("told apart", no_wrap=True)
    for row in rows:
        if row["protocol"] == SHOWN:
            table.add_row(
                escape(f"{row['query']} → {row['gallery']}"),
                row["left.method"],
                row["right.method"],
                f"{row['left.n_seeds']}, {row['right.n_seeds']}",
                escape(f"{row['difference']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"),
                "yes" if row["low"] > 0 else "no",
            )
    return table
