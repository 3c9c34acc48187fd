"""``--list``: what there is to choose from."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from rich.console import Console
from rich.table import Table

from harness.datasets.contract import StudyDefaults
from harness.options import OUTPUT, TrainOptions, flag


@dataclass(frozen=True, kw_only=True)
class Lists:
    """What a command is asked for instead of its work."""

    list: Annotated[
        Literal["methods", "datasets", "objectives", "backbones"] | None,
        flag(OUTPUT, "print what there is to choose from, and stop", "WORD"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ListsAndReplay(Lists):
    """The same of ``harness.train``."""

    replay: Annotated[
        str | None,
        flag(
            OUTPUT, "train a row's trial again, and name the first epoch that differs", "TRIAL_ID"
        ),
    ] = None


def decided_by_data_sets(kind: type[TrainOptions]) -> str:
    """What each data set decides where a flag is not given, as text for ``--help``."""
    from harness.datasets.registry import dataset_names, dataset_spec

    flags = [item.name for item in fields(StudyDefaults) if item.name in kind.__dataclass_fields__]
    rows = [["--dataset", *(name.replace("_", "-") for name in flags), "pairs"]]
    for name in dataset_names():
        spec = dataset_spec(name)
        pairs = f"{len(spec.default_pairs)} pairs" if spec.default_pairs else "all"
        rows.append([name, *(str(getattr(spec.defaults, flag)) for flag in flags), pairs])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n  ".join(["Defaults by data set:", *lines]) + "\n"


def show_list(name: str, loss_module: Path | None, console: Console) -> None:
    """Prints a list, with the losses and methods from outside."""
    from harness.plugins import load_plugins

    load_plugins(loss_module)
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
