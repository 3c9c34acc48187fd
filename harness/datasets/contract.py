"""What a data set is: its declaration, and the index of the images that were found.

Shapes: N images of one domain.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class StudyDefaults:
    """What a study of this data set uses where neither a flag nor ``--set`` says otherwise.

    Attributes:
        backbone: timm name.
        weights: ``random``, ``timm`` or a file.
        image_size: side of the square the network sees, in pixels.
        batch_size: images per domain and step.
        epochs: epochs over all stages.
        trials: ended trials per pair.
    """

    backbone: str
    weights: str
    image_size: int
    batch_size: int
    epochs: int
    trials: int


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """The declaration of a data set: one file of this folder each.

    Attributes:
        name: as given to ``--dataset``.
        ks: the k of its P@k.
        primary_metric: the metric that ranks its leaderboard, such as ``P@1``.
        defaults: what a study of it uses by default.
        domains: canonical names, in the order that decides which of a pair comes first; None
            where any folder is a domain (sorted by name).
        aliases: for a canonical domain, other folder names that mean it (matched without regard
            to case, spaces, dashes and underscores).
        levels: names of optional folders between a domain and its classes (``train``, ``images``);
            several that exist side by side are read together.
        classes: the class list; None where the folders decide.
        expected_counts: images per domain of the complete data set, or None.
        default_pairs: the pairs of ``--pairs`` when the flag is absent; None means all.
        folders_wanted: one sentence for the user who has no data: which folders to bring.
    """

    name: str
    ks: tuple[int, ...]
    primary_metric: str
    defaults: StudyDefaults
    domains: tuple[str, ...] | None = None
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    levels: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None
    expected_counts: Mapping[str, int] | None = None
    default_pairs: tuple[tuple[str, str], ...] | None = None
    folders_wanted: str = "<root>/<domain>/<class>/<image>"


@dataclass(frozen=True)
class DomainIndex:
    """The images of one domain, in the order that training sees.

    The order is that of the images' content digests: folder order would be the label.

    Attributes:
        name: canonical name of the domain.
        paths: relative to the root, with forward slashes.
        digests: hexadecimal content digest of each file.
        class_id_N: index into ``DatasetIndex.classes``. Outside this package only
            ``harness.evaluation`` may read it.
    """

    name: str
    paths: tuple[str, ...]
    digests: tuple[str, ...]
    class_id_N: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class DatasetIndex:
    """A data set as found on this machine.

    Attributes:
        name: name of the results folder (for ``folder`` that of the root folder).
        spec: its declaration.
        root: folder the paths of the domains are relative to.
        classes: one global class list over all domains, sorted.
        domains: in canonical order.
        fingerprint: hash over relative paths and content digests of all domains.
        warnings: what differs from the complete data set, one sentence each; kept in every row.
    """

    name: str
    spec: DatasetSpec
    root: Path
    classes: tuple[str, ...]
    domains: tuple[DomainIndex, ...]
    fingerprint: str
    warnings: tuple[str, ...] = ()

    def domain(self, name: str) -> DomainIndex:
        """The domain of that canonical name.

        Raises:
            KeyError: there is none.
        """
        for domain in self.domains:
            if domain.name == name:
                return domain
        raise KeyError(name)
