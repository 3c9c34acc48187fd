"""``--list``: what there is to choose from."""

import argparse
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table


def add_list_flag(parser: argparse.ArgumentParser) -> None:
    """Adds ``--list`` to a command line."""
    parser.add_argument(
        "--list",
        choices=tuple(_LISTS),
        help="print the methods, data sets, objectives or backbones, and stop",
    )


def load_for_list(loss_module: Path | None) -> None:
    """Imports the losses and methods from outside, so that the lists hold them."""
    from harness.plugins import load_plugins

    load_plugins(loss_module)


def show_list(name: str, console: Console) -> None:
    """Prints a list."""
    console.print(_LISTS[name]())


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=heading == headings[0])
    return table


def _methods() -> Table:
    from harness.methods import get_method, method_names

    table = _table("method", "parameters", "what it is")
    for name in method_names():
        method = get_method(name)
        table.add_row(name, " ".join(method.parameter_types()), method.summary)
    return table


def _datasets() -> Table:
    from harness.datasets.registry import dataset_names, dataset_spec

    table = _table("data set", "domains", "primary metric", "layout")
    for name in dataset_names():
        spec = dataset_spec(name)
        domains = ", ".join(spec.domains) if spec.domains else "any folder"
        table.add_row(name, domains, spec.primary_metric, spec.folders_wanted)
    return table


def _objectives() -> Table:
    from harness.validators import get_validator, validator_names

    table = _table("objective", "better", "labels")
    for name in validator_names():
        table.add_row(name, get_validator(name).direction, "none")
    table.add_row("oracle[:METRIC]", "max", "reads them: paper and oracle rows only")
    return table


def _backbones() -> Table:
    from models.encoder import backbone_names

    table = _table("backbone (timm)")
    for name in backbone_names("*"):
        table.add_row(name)
    return table


_LISTS: dict[str, Callable[[], Table]] = {
    "methods": _methods,
    "datasets": _datasets,
    "objectives": _objectives,
    "backbones": _backbones,
}
