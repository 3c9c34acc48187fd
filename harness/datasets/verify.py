"""Whether a tree is the complete data set, and what differs if it is not.

Shapes: D domains, C classes.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from harness.datasets.contract import DatasetIndex
from harness.datasets.dataset_index import count_classes
from harness.datasets.folder_tree import fold_name

_NAMED = 5


@dataclass(frozen=True)
class DomainCheck:
    """Expected and found of one domain; an expectation is None where the data set states none."""

    name: str
    expected_images: int | None
    found_images: int
    expected_classes: int | None
    found_classes: int

    @property
    def agrees(self) -> bool:
        """Whether nothing differs from what is expected."""
        images = self.expected_images in (None, self.found_images)
        return images and self.expected_classes in (None, self.found_classes)


@dataclass(frozen=True)
class Verification:
    """A tree compared with the declaration of its data set.

    Attributes:
        dataset: its name.
        checks: one per domain expected or found, in canonical order.
        warnings: one sentence per difference; they go into the rows of the results.
        complete: True: the complete data set; False: something differs; None: nothing to compare
            with, as for ``folder``.
    """

    dataset: str
    checks: tuple[DomainCheck, ...]
    warnings: tuple[str, ...]
    complete: bool | None

    @property
    def summary(self) -> str:
        """One sentence for the terminal."""
        images = sum(check.found_images for check in self.checks)
        domains = sum(check.found_images > 0 for check in self.checks)
        found = f"{images} images in {domains} domains"
        if self.complete is None:
            return f"{self.dataset}: {found}."
        verdict = "complete" if self.complete else "differs from the complete data set"
        return f"{self.dataset}: {found}, {verdict}."


def verify(index: DatasetIndex) -> Verification:
    """Compares an index with what its data set should hold."""
    spec = index.spec
    counts_DC = count_classes(index)
    found = {
        domain.name: (len(domain), counts_DC[position])
        for position, domain in enumerate(index.domains)
    }
    expected_counts = spec.expected_counts or {}
    checks, warnings = [], []
    for name in spec.domains or tuple(found):
        images, counts_C = found.get(name, (0, None))
        present = () if counts_C is None else tuple(np.flatnonzero(counts_C))
        present_classes = {index.classes[c] for c in present}
        check = DomainCheck(
            name=name,
            expected_images=expected_counts.get(name),
            found_images=images,
            expected_classes=None if spec.classes is None else len(spec.classes),
            found_classes=len(present_classes),
        )
        checks.append(check)
        missing = [wanted for wanted in spec.classes or () if wanted not in present_classes]
        warnings += _differences(spec.name, check, missing)
    if spec.classes is None:
        warnings += _uneven_classes(index, counts_DC > 0)
    states_something = spec.classes is not None or spec.expected_counts is not None
    complete = all(check.agrees for check in checks) if states_something else None
    return Verification(index.name, tuple(checks), tuple(warnings), complete)


def verification_table(verification: Verification) -> Table:
    """Expected and found per domain, for ``rich.console.Console.print``."""
    table = Table(title=verification.summary)
    table.add_column("domain")
    for column in ("images expected", "found", "classes expected", "found"):
        table.add_column(column, justify="right")
    for check in verification.checks:
        cells = (
            check.name,
            "-" if check.expected_images is None else str(check.expected_images),
            str(check.found_images),
            "-" if check.expected_classes is None else str(check.expected_classes),
            str(check.found_classes),
        )
        table.add_row(*cells, style=None if check.agrees else "yellow")
    return table


def _differences(dataset: str, check: DomainCheck, missing: list[str]) -> list[str]:
    if check.found_images == 0:
        return [f"The domain '{check.name}' of {dataset} is missing."]
    sentences = []
    if missing:
        sentences.append(
            f"The domain '{check.name}' lacks {len(missing)} of {check.expected_classes} classes "
            f"of {dataset}: {_some(missing)}."
        )
    if check.expected_images not in (None, check.found_images):
        sentences.append(
            f"The domain '{check.name}' has {check.found_images} images, the complete {dataset} "
            f"has {check.expected_images}."
        )
    return sentences


def _uneven_classes(index: DatasetIndex, held_DC: NDArray[np.bool_]) -> list[str]:
    sentences = []
    uneven = [index.classes[c] for c in np.flatnonzero(~held_DC.all(axis=0))]
    if uneven:
        sentences.append(
            f"{len(uneven)} of {len(index.classes)} classes are not in every domain: "
            f"{_some(uneven)}."
        )
    spellings: defaultdict[str, list[str]] = defaultdict(list)
    for class_name in index.classes:
        spellings[fold_name(class_name)].append(class_name)
    for names in spellings.values():
        if len(names) > 1:
            sentences.append(
                f"The classes {_some([repr(name) for name in names])} differ only in spelling and "
                "are counted as different."
            )
    return sentences


def _some(names: list[str]) -> str:
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more"
