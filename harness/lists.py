"""``--list``: what there is to choose from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from harness.options import OUTPUT


@dataclass(frozen=True, kw_only=True)
class Lists:
    """What a command is asked for instead of its work."""

    list: Annotated[
        Literal["methods", "datasets", "objectives", "backbones"] | None,
        Parameter(group=OUTPUT, help="print what there is to choose from, and stop"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ListsAndReplay(Lists):
    """The same of ``harness.train``."""

    replay: Annotated[
        str | None,
        Parameter(
            group=OUTPUT,
            help="train the trial of a row once more, by its trial_id, and say which epoch differs "
            "first, if any",
        ),
    ] = None


def set_defaults() -> str:
    """What the data sets decide where a flag is not given, as text for ``--help``."""
    from harness.datasets.registry import dataset_names, dataset_spec

    names = ("backbone", "weights", "image_size", "batch_size", "epochs", "trials")
    lines = ["What the data set decides:", ""]
    heading = ["--dataset", *(f"--{name.replace('_', '-')}" for name in names)]
    rows = [heading]
    for dataset in dataset_names():
        defaults = dataset_spec(dataset).defaults
        rows.append([dataset, *(str(getattr(defaults, name)) for name in names)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(heading))]
    lines += [
        "  " + " ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(lines) + "\n"


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
