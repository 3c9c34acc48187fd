"""The data sets by name, and the way from a name to the index of its images."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.datasets import domainnet7, folder, office31, officehome, pacs, shapes
from harness.datasets.content_digests import digest_files
from harness.datasets.contract import DatasetIndex, DatasetSpec
from harness.datasets.dataset_index import build_index
from harness.datasets.decode import refuse_unreadable
from harness.datasets.folder_tree import find_root, scan_tree
from harness.datasets.verify import verify
from harness.registry import Registry


@dataclass(frozen=True)
class Generator:
    """How a data set that needs no data root is made.

    Attributes:
        folder_name: name of its tree in the cache folder; changes with everything that changes
            an image.
        write: writes root/<domain>/<class>/<image> unless it is there. Several processes may call
            it at once, and none may see a half-written tree.
    """

    folder_name: str
    write: Callable[[Path], object]


@dataclass(frozen=True)
class _Dataset:
    """A declaration, by which two are compared, and how its images are made where they are."""

    spec: DatasetSpec
    generator: Generator | None = field(default=None, compare=False)


DATASETS: Registry[_Dataset] = Registry("data set")


def register_dataset(spec: DatasetSpec, generator: Generator | None = None) -> None:
    """Makes a data set known under ``spec.name``.

    Raises:
        UsageError: the name cannot be one, or another data set has it.
    """
    DATASETS.add(spec.name, _Dataset(spec, generator))


def dataset_names() -> tuple[str, ...]:
    """The registered names: built-in data first."""
    return DATASETS.names()


def dataset_spec(name: str) -> DatasetSpec:
    """The declaration of a data set.

    Raises:
        UsageError: no data set has the name.
    """
    return DATASETS[name].spec


def open_dataset(
    name: str, data_root: Path | None, cache_dir: Path, *, skip_unreadable: bool = False
) -> DatasetIndex:
    """Finds the images of a data set, and says what differs from the complete one.

    Files are hashed, not decoded: ``frame_store.prepare`` decodes them and finds the broken ones.

    Args:
        name: a registered name.
        data_root: the folder that holds the domains, or one with a subfolder of the data set's
            name. None: the environment variable ``HARNESS_DATA_ROOT``, or the data set's own
            generator.
        cache_dir: digests and generated images are kept there.
        skip_unreadable: leave out files that cannot be read, with a warning each.

    Returns:
        The index; its warnings name what is missing.

    Raises:
        UsageError: unknown name; no data root, or one without at least two domains; a domain
            without images; a file that cannot be read.
    """
    spec, generator = DATASETS[name].spec, DATASETS[name].generator
    if generator is not None and data_root is None:
        data_root = cache_dir / generator.folder_name
        generator.write(data_root)
    root = find_root(spec, data_root, os.environ)
    found = scan_tree(root, spec)
    paths = [path for domain in found for _, path in domain.images]
    digests, unreadable = digest_files(root, paths, cache_dir)
    if not skip_unreadable:
        refuse_unreadable(unreadable)
    shown_name = (root.name or name) if name == folder.SPEC.name else name
    index = build_index(shown_name, spec, root, found, digests)
    skipped = [item.skipped_sentence for item in unreadable]
    return replace(index, warnings=(*verify(index).warnings, *skipped))


def ensure_generated(index: DatasetIndex, cache_dir: Path) -> None:
    """Draws generated images on a machine of a cluster that lacks them; else does nothing.

    Args:
        index: as opened on another machine.
        cache_dir: the cache folder, under the same path on every machine.

    Raises:
        UsageError: the folder cannot be written.
    """
    name = index.spec.name
    generator = DATASETS[name].generator if name in DATASETS else None
    if generator is not None and index.root == (cache_dir / generator.folder_name).resolve():
        generator.write(index.root)


_SHAPES = shapes.ShapesSettings()
register_dataset(
    shapes.SPEC, Generator(_SHAPES.folder_name, lambda root: shapes.generate(root, _SHAPES))
)
for _spec in (folder.SPEC, officehome.SPEC, domainnet7.SPEC, office31.SPEC, pacs.SPEC):
    register_dataset(_spec)
