"""Configuration: what was asked for, what a study is, what a trial is.

Frozen dataclasses of plain values with a JSON round trip and a content hash. The options of the
command line are the dataclasses :class:`TrainOptions`, :class:`TuneOptions` and
:class:`CompareOptions`; this is the one place for their defaults. Where a default is None, the
data set decides.
"""

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

ParameterValue = int | float | str | bool

Pair = tuple[str, str]
"""First and second domain of a training; in ``partial`` and ``open`` query and gallery."""

Configuration = TypeVar("Configuration")


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    metavar: str | None = None,
    several: bool = False,
) -> Any:
    """A field that is a flag of the command line.

    Args:
        default: value where the flag is absent.
        help: what ``--help`` says of it.
        choices: the valid words.
        metavar: name of the value in ``--help``.
        several: the flag takes several values and may be repeated.
    """
    return field(
        default=default,
        metadata={"help": help, "choices": choices, "metavar": metavar, "several": several},
    )


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Flags of ``python -m harness.train``, and the part of ``harness.tune`` that is the same."""

    dataset: str = option("shapes", "data set by name, or 'folder' for your own images")
    data_root: Path | None = option(
        None, "folder of the data set; else $HARNESS_DATA_ROOT", metavar="DIR"
    )
    pairs: str | None = option(
        None, "domain pairs: all, or A-B,C-D; the data set's by default", metavar="PAIRS"
    )
    method: tuple[str, ...] = option(
        ("ucdir",), "method (repeatable)", metavar="NAME", several=True
    )
    scenario: str = option(
        "close",
        "class spaces of query and gallery domain",
        choices=("close", "partial", "open"),
    )
    scenario_seed: int = option(2024, "draws the half of the classes", metavar="N")
    backbone: str | None = option(None, "timm backbone", metavar="NAME")
    weights: str | None = option(
        None, "initial weights: random, timm, or a file", metavar="random|timm|FILE"
    )
    image_size: int | None = option(None, "side of the network's input in pixels", metavar="N")
    batch_size: int | None = option(None, "images per domain and step", metavar="N")
    epochs: int | None = option(None, "epochs over all stages", metavar="N")
    objective: str = option(
        "mutual_nn",
        "what the search maximises: a label-free score, or oracle[:METRIC]",
        metavar="NAME",
    )
    set: tuple[str, ...] = option(
        (), "fix parameters of the method", metavar="NAME=VALUE", several=True
    )
    seed: int = option(0, "seed of everything random", metavar="N")
    out: Path = option(Path("results"), "folder of the results", metavar="DIR")
    storage: Path | None = option(
        None, "folder of checkpoints; under --out by default", metavar="DIR"
    )
    cache_dir: Path | None = option(
        None, "folder of the decoded images; else $HARNESS_CACHE_DIR", metavar="DIR"
    )
    loss_module: Path | None = option(
        None, "import losses and methods of your own from a Python file", metavar="FILE"
    )
    skip_unreadable: bool = option(False, "go on without images that cannot be read")
    cpus_per_trial: int = option(1, "CPU threads of a trial", metavar="N")
    config: Path | None = option(
        None, "take the flags from a JSON file that a run has written", metavar="FILE"
    )


@dataclass(frozen=True, kw_only=True)
class TuneOptions(TrainOptions):
    """Flags of ``python -m harness.tune``."""

    trials: int | None = option(None, "ended trials per pair, in total", metavar="N")
    sampler: str = option(
        "tpe", "how settings are proposed: tpe, random, qmc, gp, cmaes, nsga2", metavar="NAME"
    )
    scope: str = option(
        "pair",
        "own settings for each pair, or each proposal trained on all pairs",
        choices=("pair", "dataset"),
    )
    space: tuple[str, ...] = option(
        (), "change a range of the search", metavar="NAME=LOW:HIGH[:log]", several=True
    )
    confirm: int = option(
        0, "train each pick again with this many fresh seeds after the search", metavar="N"
    )
    retry_failed: bool = option(False, "train failed trials again, under the same id")
    time_budget: str | None = option(
        None, "stop after this long, such as 90s, 30m or 2h; the same command goes on", metavar="T"
    )
    address: str | None = option(
        None,
        "where Ray runs: local, auto (the cluster of this machine) or HOST:PORT; else "
        "$RAY_ADDRESS, else local",
        metavar="local|auto|HOST:PORT",
    )
    max_concurrent: int | None = option(None, "trials at once; as many as fit", metavar="N")
    gpus_per_trial: float | None = option(
        None, "share of a GPU a trial takes; 0.25 where there is one", metavar="SHARE"
    )


@dataclass(frozen=True, kw_only=True)
class CompareOptions(TuneOptions):
    """Flags of ``python -m harness.compare``."""

    methods: str = option(
        "", "methods to compare, separated by commas; goes before --method", metavar="A,B,..."
    )


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Everything that changes a result, apart from the pair and the trial's own parameters.

    Attributes:
        dataset: name of the results folder.
        fingerprint: of the data set.
        dataset_warnings: how the data differs from the complete data set.
        scenario: ``close``, ``partial`` or ``open``.
        scenario_seed: of the class split.
        method: registered name.
        method_digest: hash of the source that decides what the method computes.
        backbone: timm name.
        weights: ``random``, ``timm`` or a file; its folder is no part of the identity.
        weights_digest: hash of the weight file, or "".
        image_size: pixels.
        epochs: over all stages.
        batch_size: wanted images per domain and step.
        precision: ``fp32`` or ``bf16``.
        device_type: ``cpu`` or ``cuda``.
        threads: CPU threads of a trial.
        preset: ``paper`` or ``scratch``.
        fixed: values given by ``--set``.
        space: the search space as JSON, per parameter.
        objective: what the search maximises.
        scope: ``pair`` or ``dataset``.
        sampler: name of the sampler and its arguments.
        early_stopping: name of the rule and its arguments, or "none".
        seed: of the study.
        legacy_id: the study's id where an earlier version of the results gave it; no part of the
            identity.
    """

    dataset: str
    fingerprint: str
    dataset_warnings: tuple[str, ...] = ()
    scenario: str = "close"
    scenario_seed: int = 2024
    method: str
    method_digest: str = ""
    backbone: str
    weights: str
    weights_digest: str = ""
    image_size: int
    epochs: int
    batch_size: int
    precision: str = "fp32"
    device_type: str = "cpu"
    threads: int = 1
    preset: str
    fixed: Mapping[str, ParameterValue] = field(default_factory=dict)
    space: Mapping[str, str] = field(default_factory=dict)
    objective: str
    scope: str = "pair"
    sampler: str = ""
    early_stopping: str = "none"
    seed: int = 0
    legacy_id: str = ""

    @cached_property
    def study_id(self) -> str:
        """The method's name and a hash of the identity; the same id resumes."""
        return self.legacy_id or f"{self.method}-{content_hash(self.identity)[:8]}"

    @property
    def identity(self) -> "StudyConfig":
        """The study without what changes no result: a file's folder, the wording of warnings."""
        return dataclasses.replace(
            self, weights=self.weights_name, dataset_warnings=(), legacy_id=""
        )

    @property
    def weights_name(self) -> str:
        """``random``, ``timm`` or the name of the file."""
        return Path(self.weights).name


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """One training. Its JSON stands in every row and is all that a replay needs.

    Attributes:
        study: what it shares with the study's other trials.
        trial_id: unique under one ``--out``.
        number: of the trial within study and pair, from 0.
        pair: first and second domain; in ``partial`` and ``open`` query and gallery.
        params: every parameter of the method.
        searched: names of those the search proposed.
        origin: ``start`` for the trials that all pairs of a study begin with, ``proposed`` for the
            sampler's, ``given`` for a training outside a search, ``confirm`` for a pick with a
            fresh seed.
        is_paper_point: whether the searched values are the paper's own.
        init_seed: seed of random initial weights, the same for all trials of a study.
        seed: of the trial's own draws.
        confirms: trial id of the pick whose settings a confirmation trains again.
    """

    study: StudyConfig
    trial_id: str
    number: int
    pair: Pair
    params: Mapping[str, ParameterValue]
    searched: tuple[str, ...] = ()
    origin: str = "proposed"
    is_paper_point: bool = False
    init_seed: int
    seed: int
    confirms: str = ""

    @property
    def searched_values(self) -> dict[str, ParameterValue]:
        """The values that the search proposed."""
        return {name: self.params[name] for name in self.searched}


def plain(value: Any) -> Any:
    """A configuration as dicts, lists and plain values, as JSON holds it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, Path):
        return str(value)
    return value


def to_json(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"))


def content_hash(value: Any) -> str:
    """Hexadecimal hash of the canonical JSON."""
    return hashlib.sha256(to_json(value).encode()).hexdigest()


def from_json(kind: type[Configuration], text: str) -> Configuration:
    """The configuration that :func:`to_json` wrote.

    Raises:
        TypeError: the text names a field that ``kind`` does not have, or lacks one it needs.
    """
    built: Configuration = _build(kind, json.loads(text))
    return built


def trial_from_json(text: str) -> TrialConfig:
    """The trial that :func:`to_json` wrote; trials of one study share the study's object."""
    fields = json.loads(text)
    fields["study"] = _study_of(json.dumps(fields["study"]))
    built: TrialConfig = _build(TrialConfig, fields)
    return built


@lru_cache(maxsize=256)
def _study_of(text: str) -> StudyConfig:
    fields = json.loads(text)
    if "warm_start" in fields:
        # Results of schema 1. Their ids were hashes of all fields, the folder of weights left out.
        identity = {**fields, "weights": Path(fields["weights"]).name}
        fields["legacy_id"] = f"{fields['method']}-{content_hash(identity)[:8]}"
        del fields["warm_start"]
    study: StudyConfig = _build(StudyConfig, fields)
    return study


_type_hints = cache(typing.get_type_hints)


def _build(kind: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if isinstance(value, kind):
            return value
        hints = _type_hints(kind)
        unknown = set(value) - set(hints)
        if unknown:
            raise TypeError(f"{kind.__name__} has no field {', '.join(sorted(unknown))}")
        return kind(**{name: _build(hints[name], entry) for name, entry in value.items()})
    origin = typing.get_origin(kind)
    if origin is tuple:
        of = typing.get_args(kind)[0]
        return tuple(_build(of, entry) for entry in value)
    if origin in (types.UnionType, typing.Union):
        if value is None or Path not in typing.get_args(kind):
            return value
        return Path(value)
    if kind is Path:
        return Path(value)
    return value
