"""The flags of the commands: the one place for their types, defaults and help texts.

Where a default is None, the data set decides. Read from the command line by cyclopts: of the
libraries that build flags from typed dataclasses (tyro, jsonargparse, pydantic-settings, cyclopts)
it takes several values per flag, groups the help, names the nearest flag and reads files, all
without code of ours. Files of ``--config`` are checked by pydantic, which says of each value what
it should be.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

DATA = Group("Data", sort_key=1)
METHOD = Group("Method", sort_key=2)
SEARCH = Group("Search", sort_key=3)
MACHINE = Group("Machine", sort_key=4)
OUTPUT = Group("Output", sort_key=5)


BY_DATASET = "as the data set decides"


def _flag(group: Group, text: str, *, unset: str = "") -> Parameter:
    """A flag of the command line.

    Args:
        group: where the help shows it.
        text: what the help says of it.
        unset: what the help shows for the default None.
    """

    def shown(default: Any) -> str:
        several = isinstance(default, tuple)
        return unset if default is None else " ".join(default) if several else str(default)

    return Parameter(group=group, help=text, show_default=shown)


def _optional(group: Group, text: str) -> Parameter:
    """A flag whose absence says enough."""
    return Parameter(group=group, help=text, show_default=False)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Flags of ``python -m harness.train``, and the part of ``harness.tune`` that is the same."""

    dataset: Annotated[str, _flag(DATA, "data set by name, or 'folder' for your own images")] = (
        "shapes"
    )
    data_root: Annotated[
        Path | None, _optional(DATA, "folder of the data set; else $HARNESS_DATA_ROOT")
    ] = None
    pairs: Annotated[str | None, _flag(DATA, "domain pairs: all, or A-B,C-D", unset=BY_DATASET)] = (
        None
    )
    method: Annotated[tuple[str, ...], _flag(METHOD, "method (repeatable)")] = ("ucdir",)
    scenario: Annotated[
        Literal["close", "partial", "open"], _flag(DATA, "class spaces of query and gallery domain")
    ] = "close"
    scenario_seed: Annotated[int, _flag(DATA, "draws the half of the classes")] = 2024
    backbone: Annotated[str | None, _flag(METHOD, "timm backbone", unset=BY_DATASET)] = None
    weights: Annotated[
        str | None, _flag(METHOD, "initial weights: random, timm, or a file", unset=BY_DATASET)
    ] = None
    image_size: Annotated[
        int | None, _flag(METHOD, "side of the network's input in pixels", unset=BY_DATASET)
    ] = None
    batch_size: Annotated[
        int | None, _flag(METHOD, "images per domain and step", unset=BY_DATASET)
    ] = None
    epochs: Annotated[int | None, _flag(METHOD, "epochs over all stages", unset=BY_DATASET)] = None
    objective: Annotated[
        str, _flag(SEARCH, "what the search maximises: a label-free score, or oracle[:METRIC]")
    ] = "mutual_nn"
    set: Annotated[tuple[str, ...], _optional(METHOD, "fix parameters of the method")] = ()
    seed: Annotated[int, _flag(SEARCH, "seed of everything random")] = 0
    out: Annotated[Path, _flag(OUTPUT, "folder of the results")] = Path("results")
    storage: Annotated[
        Path | None, _optional(OUTPUT, "folder of checkpoints; under --out by default")
    ] = None
    cache_dir: Annotated[
        Path | None, _optional(DATA, "folder of the decoded images; else $HARNESS_CACHE_DIR")
    ] = None
    loss_module: Annotated[
        Path | None, _optional(METHOD, "import losses and methods of your own from a Python file")
    ] = None
    skip_unreadable: Annotated[bool, _flag(DATA, "go on without images that cannot be read")] = (
        False
    )
    cpus_per_trial: Annotated[int, _flag(MACHINE, "CPU threads of a trial")] = 1
    config: Annotated[
        Path | None,
        _optional(OUTPUT, "take flags from a TOML or JSON file, such as a run has written"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class TuneOptions(TrainOptions):
    """Flags of ``python -m harness.tune``."""

    trials: Annotated[
        int | None, _flag(SEARCH, "ended trials per pair, in total", unset=BY_DATASET)
    ] = None
    sampler: Annotated[
        str, _flag(SEARCH, "how settings are proposed: tpe, random, qmc, gp, cmaes, nsga2")
    ] = "tpe"
    scope: Annotated[
        Literal["pair", "dataset"],
        _flag(SEARCH, "own settings for each pair, or each proposal trained on all pairs"),
    ] = "pair"
    space: Annotated[tuple[str, ...], _optional(SEARCH, "change a range of the search")] = ()
    confirm: Annotated[
        int, _flag(SEARCH, "train each pick again with this many fresh seeds after the search")
    ] = 0
    retry_failed: Annotated[bool, _flag(SEARCH, "train failed trials again, under the same id")] = (
        False
    )
    time_budget: Annotated[
        str | None,
        _optional(SEARCH, "stop after this long, such as 90s, 30m or 2h; the same command goes on"),
    ] = None
    address: Annotated[
        str | None,
        _optional(
            MACHINE,
            "where Ray runs: local, auto (the cluster of this machine) or HOST:PORT; else "
            "$RAY_ADDRESS, else local",
        ),
    ] = None
    max_concurrent: Annotated[int | None, _optional(MACHINE, "trials at once; as many as fit")] = (
        None
    )
    gpus_per_trial: Annotated[
        float | None, _optional(MACHINE, "share of a GPU a trial takes; 0.25 where there is one")
    ] = None


@dataclass(frozen=True, kw_only=True)
class CompareOptions(TuneOptions):
    """Flags of ``python -m harness.compare``."""

    methods: Annotated[
        str, _optional(METHOD, "methods to compare, separated by commas; goes before --method")
    ] = ""
