"""The conformance check of a data set's declaration."""

import re
from collections.abc import Iterable
from typing import Any

import timm

from harness.datasets.contract import DatasetSpec
from harness.datasets.folder_tree import fold_name
from harness.datasets.registry import dataset_spec
from harness.errors import UsageError
from models.encoder import EncoderSettings, build_encoder

LEAST = {"image_size": 16, "batch_size": 2, "epochs": 1, "trials": 1}
"""The least a default may be: as small as ``shapes`` draws, two halves of a batch, one, one."""


class DatasetCheckError(AssertionError):
    """A declaration breaks the contract; the sentence says which part of it."""


def check_dataset(dataset: str | DatasetSpec) -> None:
    """Checks that a data set's declaration can be used by every command.

    Its name can be a folder's. The ks of P@k are whole and rise, and the primary metric is one of
    the metrics they give. Domains, classes, aliases, expected counts and default pairs speak of
    the same names, none empty and none twice in the eyes of the folder search (which ignores case,
    spaces, dashes and underscores); no alias means two domains, no pair is there twice in either
    order. The defaults are usable values: the backbone is built at the image size with the
    weights, only timm's own weights are not fetched.

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
    _check_default_pairs(spec)
    _check_defaults(spec)


def _check_metrics(spec: DatasetSpec) -> None:
    rising = all(_is_whole(k) and k >= 1 for k in spec.ks) and list(spec.ks) == sorted(set(spec.ks))
    sentence = f"ks must rise from at least 1 and be whole numbers, not {spec.ks}"
    _require(spec, bool(spec.ks) and rising, sentence)
    metrics = [*(f"P@{k}" for k in spec.ks), "mAP@All"]
    _require(
        spec,
        spec.primary_metric in metrics,
        f"its primary metric '{spec.primary_metric}' is none of {', '.join(metrics)}",
    )


def _check_names(spec: DatasetSpec) -> None:
    for what, names in (("domains", spec.domains), ("classes", spec.classes)):
        if names is not None:
            _check_distinct(spec, what, names)
            _require(spec, len(names) >= 2, f"it needs at least two {what}")
    if spec.domains is None:
        named = [*spec.aliases, *(spec.expected_counts or {})]
        _require(spec, not named, "aliases or counts name domains, but domains is None")
        return
    for name in (*spec.aliases, *(spec.expected_counts or {})):
        _require(spec, name in spec.domains, f"'{name}' is none of its domains")
    owner: dict[str, str] = {fold_name(name): name for name in spec.domains}
    for domain, aliases in spec.aliases.items():
        for alias in aliases:
            _require(spec, bool(fold_name(alias)), f"the alias '{alias}' of {domain} is empty")
            first = owner.setdefault(fold_name(alias), domain)
            _require(spec, first == domain, f"the alias '{alias}' means {first} and {domain}")
    for count in (spec.expected_counts or {}).values():
        _require(spec, count >= 1, "an expected count is below 1")


def _check_distinct(spec: DatasetSpec, what: str, names: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        folded = fold_name(name)
        _require(spec, bool(folded), f"the name '{name}' among its {what} is empty")
        _require(spec, seen.get(folded) != name, f"its {what} hold '{name}' twice")
        _require(
            spec,
            folded not in seen,
            f"its {what} '{seen.get(folded)}' and '{name}' differ only in case, spaces, dashes or "
            "underscores, which folder names are matched without",
        )
        seen[folded] = name


def _check_default_pairs(spec: DatasetSpec) -> None:
    if spec.default_pairs is None:
        return
    _require(spec, bool(spec.default_pairs), "default_pairs is empty: name a pair, or None for all")
    seen = set()
    for pair in spec.default_pairs:
        is_pair = not isinstance(pair, str) and len(pair) == 2
        _require(spec, is_pair, f"the default pair {pair!r} is not two domains")
        for name in pair:
            known = spec.domains is None or name in spec.domains
            _require(spec, known, f"'{name}' is none of its domains")
        _require(spec, pair[0] != pair[1], f"the default pair {pair} has one domain twice")
        _require(
            spec,
            frozenset(pair) not in seen,
            f"the default pair {pair} is there twice (a pair has no order)",
        )
        seen.add(frozenset(pair))


def _check_defaults(spec: DatasetSpec) -> None:
    defaults = spec.defaults
    for name, least in LEAST.items():
        value = getattr(defaults, name)
        _require(
            spec,
            _is_whole(value) and value >= least,
            f"the default of {name} must be a whole number of at least {least}, not {value}",
        )
    from_timm = defaults.weights == "timm"
    settings = EncoderSettings(backbone=defaults.backbone, image_size=defaults.image_size)
    try:
        build_encoder(settings, "random" if from_timm else defaults.weights, seed=0)
    except UsageError as error:
        raise DatasetCheckError(
            f"The data set '{spec.name}': its defaults cannot be used: {error}"
        ) from error
    _require(
        spec,
        not from_timm or timm.is_model_pretrained(defaults.backbone),
        f"timm has no weights for its backbone '{defaults.backbone}'",
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require(spec: DatasetSpec, holds: bool, sentence: str) -> None:
    if not holds:
        raise DatasetCheckError(f"The data set '{spec.name}': {sentence}.")
