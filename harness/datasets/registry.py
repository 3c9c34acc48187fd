"""The data sets by name, and the way from a name to the index of its images."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock

from harness.datasets import domainnet7, folder, office31, officehome, pacs, shapes
from harness.datasets.cache_folder import cache_writes
from harness.datasets.content_digests import digest_files
from harness.datasets.contract import DatasetIndex, DatasetSpec
from harness.datasets.dataset_index import build_index
from harness.datasets.decode import refuse_unreadable
from harness.datasets.folder_tree import find_root, scan_tree
from harness.datasets.verify import verify
from harness.errors import UsageError, nearest


@dataclass(frozen=True)
class Generator:
    """How a data set that needs no data root is made.

    Attributes:
        write: writes the tree root/<domain>/<class>/<image> into a new folder.
        version: changes whenever other images are written; part of the folder's name.
    """

    write: Callable[[Path], object]
    version: str


_SPECS: dict[str, DatasetSpec] = {}
_GENERATORS: dict[str, Generator] = {}


def register_dataset(spec: DatasetSpec, generator: Generator | None = None) -> None:
    """Makes a data set known under ``spec.name``.

    Raises:
        ValueError: another data set holds the name already.
    """
    if _SPECS.get(spec.name, spec) != spec:
        raise ValueError(f"the data set name '{spec.name}' is taken")
    _SPECS[spec.name] = spec
    if generator is not None:
        _GENERATORS[spec.name] = generator


def dataset_names() -> tuple[str, ...]:
    """The registered names: built-in data first."""
    return tuple(_SPECS)


def dataset_spec(name: str) -> DatasetSpec:
    """The declaration of a data set.

    Raises:
        UsageError: no data set has the name.
    """
    if name not in _SPECS:
        raise UsageError(f"There is no data set named '{name}'. {nearest(name, _SPECS)}")
    return _SPECS[name]


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
    spec = dataset_spec(name)
    generator = _GENERATORS.get(name)
    if generator is not None and data_root is None:
        data_root = _generated_root(spec, generator, cache_dir)
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


def _generated_root(spec: DatasetSpec, generator: Generator, cache_dir: Path) -> Path:
    target = cache_dir / f"{spec.name}-{generator.version}"
    with cache_writes(cache_dir), FileLock(f"{target}.lock"):
        if not target.exists():
            partial = target.with_name(target.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            generator.write(partial)
            partial.rename(target)
    return target


def _drawing_version(settings: shapes.ShapesSettings) -> str:
    """A hash over the settings and the code that draws: old drawings are never taken for new."""
    running = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode())
    for source in sorted(Path(__file__).parent.glob("shapes*.py")):
        running.update(source.read_bytes())
    return running.hexdigest()[:12]


_SHAPES = shapes.ShapesSettings()
register_dataset(
    shapes.SPEC,
    Generator(lambda root: shapes.generate(root, _SHAPES), version=_drawing_version(_SHAPES)),
)
for _spec in (folder.SPEC, officehome.SPEC, domainnet7.SPEC, office31.SPEC, pacs.SPEC):
    register_dataset(_spec)
