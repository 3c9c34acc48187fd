"""The flags of the commands: the one place for their types, defaults and help texts.

Read from the command line by cyclopts 5.5, chosen over tyro 1.0, jsonargparse 4.53 and
pydantic-settings 2.16, all of them released often and typed. Only cyclopts reads ``--method a b
--method c`` as three values: tyro lets the second flag replace the first, jsonargparse wants
``[a,b]`` and a word after every switch, pydantic-settings splits at commas and takes one value a
flag. It also groups the help, bounds numbers, and takes the values of a file below those of the
command line. Files of ``--config`` are checked by pydantic, which says of a value what it should
be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter, Token
from cyclopts.validators import Number

DATA = Group("Data", sort_key=1)
METHOD = Group("Method", sort_key=2)
SEARCH = Group("Search", sort_key=3)
MACHINE = Group("Machine", sort_key=4)
OUTPUT = Group("Output", sort_key=5)

BY_DATASET = "by data set"


def _whole(kind: Any, tokens: Sequence[Token]) -> int:
    """A whole number as Python reads it: cyclopts alone would round 2.5 to 2."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"'{tokens[0].value}' is no whole number.") from None


Whole = Annotated[int, Parameter(converter=_whole)]
Count = Annotated[Whole, Parameter(validator=Number(gte=1))]


def flag(group: Group, text: str, metavar: str = "N", *, unset: str | None = None) -> Parameter:
    """A flag of the command line.

    Args:
        group: where the help shows it.
        text: what the help says of it.
        metavar: form of the value in the help.
        unset: what the help shows in the place of an empty default.
    """

    def shown(default: Any) -> Any:
        words = " ".join(default) if isinstance(default, tuple) else default
        return "off" if words is False else unset if words in (None, "") else str(words)

    return Parameter(group=group, help=text, metavar=metavar, show_default=shown)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Flags of ``python -m harness.train``, and the part of ``harness.tune`` that is the same."""

    dataset: Annotated[
        str, flag(DATA, "data set by name, or 'folder' for your own images", "NAME")
    ] = "shapes"
    data_root: Annotated[
        Path | None, flag(DATA, "folder of the data set", "DIR", unset="$HARNESS_DATA_ROOT")
    ] = None
    pairs: Annotated[
        str | None, flag(DATA, "domain pairs: all, or A-B,C-D", "PAIRS", unset=BY_DATASET)
    ] = None
    method: Annotated[tuple[str, ...], flag(METHOD, "method (repeatable)", "NAME...")] = ("ucdir",)
    scenario: Annotated[
        Literal["close", "partial", "open"],
        flag(DATA, "class spaces of query and gallery domain", "WORD"),
    ] = "close"
    scenario_seed: Annotated[Whole, flag(DATA, "draws the half of the classes")] = 2024
    backbone: Annotated[str | None, flag(METHOD, "timm backbone", "NAME", unset=BY_DATASET)] = None
    weights: Annotated[
        str | None,
        flag(METHOD, "initial weights: random, timm, or a file", "WEIGHTS", unset=BY_DATASET),
    ] = None
    image_size: Annotated[
        Count | None, flag(METHOD, "side of the network's input in pixels", unset=BY_DATASET)
    ] = None
    batch_size: Annotated[
        Whole | None,
        Parameter(validator=Number(gte=2)),
        flag(
            METHOD,
            "images per domain and step, normalised in two halves: at least 2",
            unset=BY_DATASET,
        ),
    ] = None
    epochs: Annotated[Count | None, flag(METHOD, "epochs over all stages", unset=BY_DATASET)] = None
    objective: Annotated[
        str,
        flag(SEARCH, "what the search maximises: a label-free score, or oracle[:METRIC]", "NAME"),
    ] = "mutual_nn"
    set: Annotated[
        tuple[str, ...], flag(METHOD, "fix parameters of the method", "NAME=VALUE...")
    ] = ()
    seed: Annotated[Whole, flag(SEARCH, "seed of everything random")] = 0
    out: Annotated[Path, flag(OUTPUT, "folder of the results", "DIR")] = Path("results")
    storage: Annotated[
        Path | None, flag(OUTPUT, "folder of checkpoints", "DIR", unset="a folder under --out")
    ] = None
    cache_dir: Annotated[
        Path | None, flag(DATA, "folder of the decoded images", "DIR", unset="$HARNESS_CACHE_DIR")
    ] = None
    loss_module: Annotated[
        Path | None,
        flag(METHOD, "import losses and methods of your own from a Python file", "FILE"),
    ] = None
    skip_unreadable: Annotated[bool, flag(DATA, "go on without images that cannot be read")] = False
    cpus_per_trial: Annotated[Count, flag(MACHINE, "CPU threads of a trial")] = 1
    config: Annotated[
        Path | None,
        flag(OUTPUT, "take flags from a TOML or JSON file, such as a run has written", "FILE"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class TuneOptions(TrainOptions):
    """Flags of ``python -m harness.tune``."""

    trials: Annotated[
        Count | None, flag(SEARCH, "ended trials per pair, in total", unset=BY_DATASET)
    ] = None
    sampler: Annotated[
        str, flag(SEARCH, "how settings are proposed: tpe, random, qmc, gp, cmaes, nsga2", "NAME")
    ] = "tpe"
    scope: Annotated[
        Literal["pair", "dataset"],
        flag(SEARCH, "own settings for each pair, or each proposal trained on all pairs", "WORD"),
    ] = "pair"
    space: Annotated[
        tuple[str, ...], flag(SEARCH, "change ranges of the search", "NAME=LOW:HIGH[:log]...")
    ] = ()
    confirm: Annotated[
        Whole,
        Parameter(validator=Number(gte=0)),
        flag(SEARCH, "train each pick again with this many fresh seeds after the search"),
    ] = 0
    retry_failed: Annotated[bool, flag(SEARCH, "train failed trials again, under the same id")] = (
        False
    )
    time_budget: Annotated[
        str | None,
        flag(SEARCH, "stop after 90s, 30m, 2h or the like; the same command goes on", "TIME"),
    ] = None
    address: Annotated[
        str | None,
        flag(
            MACHINE,
            "where Ray runs: local, auto (the cluster of this machine) or HOST:PORT",
            "ADDRESS",
            unset="$RAY_ADDRESS, else local",
        ),
    ] = None
    max_concurrent: Annotated[
        Count | None, flag(MACHINE, "trials at once", unset="all that fit")
    ] = None
    gpus_per_trial: Annotated[
        float | None,
        Parameter(validator=Number(gt=0, lt=float("inf"))),
        flag(MACHINE, "share of a GPU a trial takes", "SHARE", unset="0.25 where there is one"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class CompareOptions(TuneOptions):
    """Flags of ``python -m harness.compare``."""

    methods: Annotated[str, flag(METHOD, "methods to compare, goes before --method", "A,B,...")] = (
        ""
    )
