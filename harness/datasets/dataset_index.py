"""From the files that were found to the index that a study works on.

Shapes: N images of one domain, D domains, C classes.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.datasets.contract import DatasetIndex, DatasetSpec, DomainIndex
from harness.datasets.folder_tree import FoundDomain
from harness.errors import UsageError


def build_index(
    name: str,
    spec: DatasetSpec,
    root: Path,
    found: Sequence[FoundDomain],
    digests: Mapping[str, str],
) -> DatasetIndex:
    """Orders images by content and classes by name, and takes the fingerprint.

    Args:
        name: of the results folder.
        spec: the declaration.
        root: folder the paths are relative to.
        found: the domains in canonical order.
        digests: content digest of each path; an image without one is left out.

    Raises:
        UsageError: no image of a domain is left.
    """
    classes = sorted({class_name for domain in found for class_name, _ in domain.images})
    class_id = {class_name: number for number, class_name in enumerate(classes)}
    domains = []
    for domain in found:
        images = sorted(
            (digests[path], path, class_id[class_name])
            for class_name, path in domain.images
            if path in digests
        )
        _refuse_empty(domain.name, images)
        domains.append(
            DomainIndex(
                name=domain.name,
                paths=tuple(path for _, path, _ in images),
                digests=tuple(digest for digest, _, _ in images),
                class_id_N=np.array([number for _, _, number in images], dtype=np.int64),
            )
        )
    return DatasetIndex(
        name=name,
        spec=spec,
        root=root,
        classes=tuple(classes),
        domains=tuple(domains),
        fingerprint=_fingerprint(domains),
    )


def drop_images(
    index: DatasetIndex, domain_name: str, paths: Collection[str], warnings: Sequence[str]
) -> DatasetIndex:
    """The index without some images of one domain.

    The fingerprint stays that of the tree as it was found: the same tree is the same data
    whichever of its domains a run needs and so has decoded.

    Raises:
        UsageError: no image of the domain is left.
    """
    domain = index.domain(domain_name)
    left_out = set(paths)
    kept = [i for i, path in enumerate(domain.paths) if path not in left_out]
    _refuse_empty(domain_name, kept)
    smaller = DomainIndex(
        name=domain.name,
        paths=tuple(domain.paths[i] for i in kept),
        digests=tuple(domain.digests[i] for i in kept),
        class_id_N=domain.class_id_N[kept],
    )
    return replace(
        index,
        domains=tuple(smaller if other is domain else other for other in index.domains),
        warnings=(*index.warnings, *warnings),
    )


def count_classes(index: DatasetIndex) -> NDArray[np.int64]:
    """Images per domain and class, DC: for the verification of a tree."""
    return np.stack(
        [np.bincount(domain.class_id_N, minlength=len(index.classes)) for domain in index.domains]
    ).astype(np.int64)


def _fingerprint(domains: Sequence[DomainIndex]) -> str:
    running = hashlib.blake2b(digest_size=16)
    for domain in sorted(domains, key=lambda domain: domain.name):
        for path, digest in sorted(zip(domain.paths, domain.digests, strict=True)):
            running.update(f"{domain.name}\0{path}\0{digest}\n".encode())
    return running.hexdigest()


def _refuse_empty(domain_name: str, images: Collection[object]) -> None:
    if not images:
        raise UsageError(f"No image of the domain '{domain_name}' can be read.")
