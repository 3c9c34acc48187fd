"""Pairs of domains, and which of their images a scenario keeps.

``close``: both domains whole; one training serves the unordered pair. ``partial``: the query
domain has half of the gallery's classes; ``open``: the gallery has half of the query's (UEM,
NeurIPS 2024); a training belongs to one direction.

Shapes: N images of one domain.
"""

import random
from collections.abc import Sequence
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from harness.config import Pair
from harness.datasets.contract import DatasetIndex, DomainIndex
from harness.datasets.folder_tree import domain_of_folder, fold_name
from harness.errors import UsageError, nearest

SCENARIOS = ("close", "partial", "open")


def class_half(classes: Sequence[str], dataset_name: str, seed: int) -> tuple[str, ...]:
    """The half of the classes that the smaller side of ``partial`` and ``open`` keeps.

    floor(C / 2) of the sorted class list, the same for all pairs of a data set. The papers do not
    state their draw.

    Args:
        classes: all classes of the data set.
        dataset_name: name of the data set.
        seed: the scenario's seed.

    Returns:
        The kept classes, sorted.

    Raises:
        UsageError: there are fewer than two classes.
    """
    if len(classes) < 2:
        raise UsageError(
            f"The data set '{dataset_name}' has {len(classes)} class: the scenarios 'partial' and "
            "'open' need at least two, take --scenario close."
        )
    draw = random.Random(f"{dataset_name}-{seed}")
    return tuple(sorted(draw.sample(sorted(classes), len(classes) // 2)))


def domain_subset(
    index: DatasetIndex, scenario: str, seed: int, query: str, gallery: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The images of both domains that a scenario keeps.

    Args:
        index: the data set.
        scenario: ``close``, ``partial`` (the query domain keeps half of the classes) or ``open``
            (the gallery keeps half).
        seed: the scenario's seed.
        query: canonical name of the query domain.
        gallery: canonical name of the gallery domain.

    Returns:
        Ascending positions in the query domain, and in the gallery domain.

    Raises:
        UsageError: unknown scenario, or nothing of a domain is left.
    """
    halved = {"close": None, "partial": query, "open": gallery}[_checked(scenario)]
    kept = []
    for name in (query, gallery):
        domain = index.domain(name)
        position_N = np.arange(len(domain), dtype=np.int64)
        if name == halved:
            position_N = position_N[_in_half(index, domain, seed)]
            if not len(position_N):
                raise UsageError(
                    f"No image of the domain '{name}' is in the half of the classes drawn by "
                    f"--scenario-seed {seed}: take another seed."
                )
        kept.append(position_N)
    return kept[0], kept[1]


def resolve_pairs(
    index: DatasetIndex, text: str | None, scenario: str, *, both_ways: bool = True
) -> tuple[Pair, ...]:
    """The trainings that ``--pairs`` asks for.

    Args:
        index: the data set; names are matched against its domains.
        text: ``all``, or ``A-B,C-D``. A name may be written in any case and with other separators
            or by an alias; inside a name a dash may be written ``%2D``. None: the data set's
            default pairs, as far as their domains are there.
        scenario: ``close`` gives unordered pairs; ``partial`` and ``open`` give directed ones.
        both_ways: in ``partial`` and ``open``, train both directions of each pair named (``tune``)
            rather than only query A, gallery B (``train``).

    Returns:
        Each pair once: in canonical order for ``all`` and None, else as written.

    Raises:
        UsageError: unknown scenario or domain, or a text that can be read in two ways.
    """
    order = [domain.name for domain in index.domains]
    named = _named_pairs(index, order, text)
    pairs: list[Pair] = []
    for a, b in named:
        if _checked(scenario) == "close":
            first, second = sorted((a, b), key=order.index)
            pairs.append((first, second))
        else:
            pairs += [(a, b), (b, a)] if both_ways else [(a, b)]
    return tuple(dict.fromkeys(pairs))


def encode_name(name: str) -> str:
    """A domain name for file names: ``%``, ``-`` and ``/`` are percent-encoded."""
    return name.replace("%", "%25").replace("-", "%2D").replace("/", "%2F")


def pair_slug(a: str, b: str) -> str:
    """The two domains joined by the only dash: ``<A>-<B>``."""
    return f"{encode_name(a)}-{encode_name(b)}"


def _checked(scenario: str) -> str:
    if scenario not in SCENARIOS:
        raise UsageError(f"There is no scenario named '{scenario}'. {nearest(scenario, SCENARIOS)}")
    return scenario


def _in_half(index: DatasetIndex, domain: DomainIndex, seed: int) -> NDArray[np.bool_]:
    half = set(class_half(index.classes, index.name, seed))
    kept_C = np.array([class_name in half for class_name in index.classes])
    return kept_C[domain.class_id_N]


def _named_pairs(
    index: DatasetIndex, order: Sequence[str], text: str | None
) -> list[tuple[str, str]]:
    every = [(a, b) for i, a in enumerate(order) for b in order[i + 1 :]]
    if text is None and index.spec.default_pairs is not None:
        found = [(a, b) for a, b in index.spec.default_pairs if a in order and b in order]
        if not found:
            raise UsageError(
                f"None of the default pairs of '{index.spec.name}' has both domains "
                f"({', '.join(order)} were found): name pairs with --pairs."
            )
        return found
    if text is None or text.strip() == "all":
        return every
    named = [_read_pair(index, order, part.strip()) for part in text.split(",") if part.strip()]
    if not named:
        raise UsageError("--pairs names no pair: write --pairs all or --pairs A-B,C-D.")
    return named


def _read_pair(index: DatasetIndex, order: Sequence[str], text: str) -> tuple[str, str]:
    cuts = [(text[:i].strip(), text[i + 1 :].strip()) for i, c in enumerate(text) if c == "-"]
    cuts = [(left, right) for left, right in cuts if left and right]
    if not cuts:
        raise UsageError(
            f"'{text}' is no pair of domains: write A-B, with domains of {', '.join(order)}."
        )
    readings = dict.fromkeys(
        (a, b)
        for left, right in cuts
        for a in _matches(index, order, left)
        for b in _matches(index, order, right)
    )
    if len(readings) > 1:
        ways = " or ".join(f"'{a}' with '{b}'" for a, b in readings)
        slugs = " or ".join(pair_slug(a, b) for a, b in readings)
        raise UsageError(f"The pair '{text}' can mean {ways}: write {slugs}.")
    if not readings:
        raise UsageError(_unknown(index, order, text, cuts))
    a, b = next(iter(readings))
    if a == b:
        raise UsageError(f"The pair '{text}' names the domain '{a}' twice.")
    return a, b


def _matches(index: DatasetIndex, order: Sequence[str], text: str) -> list[str]:
    exact = [name for name in order if text in (name, encode_name(name))]
    if exact:
        return exact
    folded = fold_name(unquote(text))
    alias = domain_of_folder(index.spec).get(folded)
    return [name for name in order if fold_name(name) == folded or name == alias]


def _unknown(
    index: DatasetIndex, order: Sequence[str], text: str, cuts: Sequence[tuple[str, str]]
) -> str:
    for cut in cuts:
        unknown = [side for side in cut if not _matches(index, order, side)]
        if len(unknown) == 1 or len(cuts) == 1:
            return f"There is no domain named '{unknown[0]}'. {nearest(unknown[0], order)}"
    pairs = [f"{a}-{b}" for a in order for b in order if a != b]
    return f"There is no pair named '{text}'. {nearest(text, pairs)}"
