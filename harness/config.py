"""Configuration: what a study is, what a trial is.

Frozen dataclasses of plain values with a JSON round trip and a content hash.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, with_config

ParameterValue = int | float | str | bool

Pair = tuple[str, str]
"""First and second domain of a training; in ``partial`` and ``open`` query and gallery."""

Configuration = TypeVar("Configuration")

_STUDY_ID = re.compile(r".+?-[0-9a-f]{8}(?=\.)")

NO_OTHER_FIELDS = ConfigDict(extra="forbid")


@with_config(NO_OTHER_FIELDS)
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


@with_config(NO_OTHER_FIELDS)
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


def make_trial_id(study_id: str, pair_slug: str, number: int) -> str:
    """The id of a trial: ``<study id>.<A>-<B>.<number>``."""
    return f"{study_id}.{pair_slug}.{number:04d}"


def study_id_of(trial_id: str) -> str:
    """The id of the study that a trial or a confirmation belongs to.

    A method's name has no dot, but that of an early plug-in may have one: the study's id ends
    where its hash does.
    """
    found = _STUDY_ID.match(trial_id)
    return found[0] if found else trial_id.partition(".")[0]


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
        pydantic.ValidationError: the text names a field that ``kind`` does not have, lacks one it
            needs, or gives one a value of another type.
    """
    return TypeAdapter(kind).validate_json(text)


def trial_from_json(text: str) -> TrialConfig:
    """The trial that :func:`to_json` wrote; trials of one study share the study's object."""
    fields = json.loads(text)
    fields["study"] = _study_of(json.dumps(fields["study"]))
    return _TRIALS.validate_python(fields)


@lru_cache(maxsize=256)
def _study_of(text: str) -> StudyConfig:
    fields = json.loads(text)
    if "warm_start" in fields:
        # Results of schema 1. Their ids were hashes of all fields, the folder of weights left out.
        identity = {**fields, "weights": Path(fields["weights"]).name}
        fields["legacy_id"] = f"{fields['method']}-{content_hash(identity)[:8]}"
        if fields.pop("warm_start"):
            # Part of how settings were proposed, so that no other study continues this one.
            fields["sampler"] += ", warm start"
    return _STUDIES.validate_python(fields)


_STUDIES = TypeAdapter(StudyConfig)
_TRIALS = TypeAdapter(TrialConfig)
