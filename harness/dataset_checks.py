"""The conformance check of a data set's declaration."""

import re
from typing import Any

from harness.datasets.contract import DatasetSpec
from harness.datasets.registry import dataset_spec
from models.encoder import backbone_names


class DatasetCheckError(AssertionError):
    """A declaration breaks the contract; the sentence says which part of it."""


def check_dataset(dataset: str | DatasetSpec) -> None:
    """Checks that a data set's declaration can be used by every command.

    Its name can be a folder's. The ks of P@k rise, and the primary metric is one of the metrics
    they give. Domains, classes, aliases, expected counts and default pairs speak of the same
    names, none twice; no alias means two domains. The defaults are usable values, the backbone is
    one that timm has.

    Args:
        dataset: a registered name, or the declaration.

    Raises:
        DatasetCheckError: the first thing that does not fit, in one sentence.
        UsageError: no data set has the name.
    """
    spec = dataset_spec(dataset) if isinstance(dataset, str) else dataset
    _require(
        spec, bool(re.fullmatch(r"[a-z0-9_-]+", spec.name)), "its name is no plain lower-case word"
    )
    _check_metrics(spec)
    _check_names(spec)
    _check_defaults(spec)


def _check_metrics(spec: DatasetSpec) -> None:
    rising = list(spec.ks) == sorted(set(spec.ks)) and all(k >= 1 for k in spec.ks)
    _require(spec, bool(spec.ks) and rising, f"ks must rise from at least 1, not {spec.ks}")
    metrics = [*(f"P@{k}" for k in spec.ks), "mAP@All"]
    _require(
        spec,
        spec.primary_metric in metrics,
        f"its primary metric '{spec.primary_metric}' is none of {', '.join(metrics)}",
    )


def _check_names(spec: DatasetSpec) -> None:
    for what, names in (("domains", spec.domains), ("classes", spec.classes)):
        if names is not None:
            _require(spec, len(set(names)) == len(names), f"its {what} hold a name twice")
            _require(spec, len(names) >= 2, f"it needs at least two {what}")
    if spec.domains is None:
        named = [*spec.aliases, *(spec.expected_counts or {})]
        _require(spec, not named, "aliases or counts name domains, but domains is None")
        return
    spoken_of = [
        *spec.aliases,
        *(spec.expected_counts or {}),
        *(name for pair in spec.default_pairs or () for name in pair),
    ]
    for name in spoken_of:
        _require(spec, name in spec.domains, f"'{name}' is none of its domains")
    owner: dict[str, str] = {_plain(name): name for name in spec.domains}
    for domain, aliases in spec.aliases.items():
        for alias in aliases:
            held = owner.setdefault(_plain(alias), domain)
            _require(spec, held == domain, f"the alias '{alias}' means {held} and {domain}")
    for count in (spec.expected_counts or {}).values():
        _require(spec, count >= 1, "an expected count is below 1")
    for pair in spec.default_pairs or ():
        _require(spec, pair[0] != pair[1], f"the default pair {pair} has one domain twice")


def _check_defaults(spec: DatasetSpec) -> None:
    defaults = spec.defaults
    numbers: dict[str, Any] = {
        "image_size": defaults.image_size,
        "batch_size": defaults.batch_size,
        "epochs": defaults.epochs,
        "trials": defaults.trials,
    }
    for name, value in numbers.items():
        _require(spec, value >= 1, f"the default of {name} is {value}")
    _require(
        spec,
        defaults.backbone in backbone_names("*"),
        f"timm has no backbone '{defaults.backbone}'",
    )


def _plain(name: str) -> str:
    return re.sub(r"[ _-]", "", name).lower()


def _require(spec: DatasetSpec, holds: bool, sentence: str) -> None:
    if not holds:
        raise DatasetCheckError(f"The data set '{spec.name}': {sentence}.")
