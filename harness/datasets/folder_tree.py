"""Which images lie in a folder tree: root/<domain>/[level/]<class>/<image>."""

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.datasets.contract import DatasetSpec
from harness.datasets.decode import is_image_name
from harness.errors import UsageError

DATA_ROOT_VARIABLE = "HARNESS_DATA_ROOT"


@dataclass(frozen=True)
class FoundDomain:
    """The images of one domain, as they lie on disk.

    Attributes:
        name: canonical name of the domain.
        images: (class name, path relative to the root with forward slashes).
    """

    name: str
    images: tuple[tuple[str, str], ...]


def fold_name(name: str) -> str:
    """A name without regard to case, spaces, dashes and underscores."""
    return re.sub(r"[\s_\-]+", "", unicodedata.normalize("NFKC", name).casefold())


def domain_of_folder(spec: DatasetSpec) -> dict[str, str]:
    """Folded folder name -> canonical domain, for a data set with a list of domains."""
    names = {}
    for domain in spec.domains or ():
        for alias in (domain, *spec.aliases.get(domain, ())):
            names[fold_name(alias)] = domain
    return names


def find_root(spec: DatasetSpec, data_root: Path | None, environment: Mapping[str, str]) -> Path:
    """The absolute folder that holds the domains.

    It is the given one (else that of ``HARNESS_DATA_ROOT``), or its subfolder named like the data
    set.

    Raises:
        UsageError: none was given, it is no folder, or no domain lies in it.
    """
    given = data_root
    if given is None and environment.get(DATA_ROOT_VARIABLE):
        given = Path(environment[DATA_ROOT_VARIABLE])
    ways = f"with --data-root DIR or the environment variable {DATA_ROOT_VARIABLE}"
    if given is None:
        raise UsageError(
            f"The data set '{spec.name}' needs its images: bring {spec.folders_wanted} and say "
            f"where they are {ways}."
        )
    root = given.expanduser().resolve()
    if not root.is_dir():
        raise UsageError(
            f"The data root {root} is no folder: for '{spec.name}' bring {spec.folders_wanted} and "
            f"say where they are {ways}."
        )
    if spec.domains is None:
        return root
    known = domain_of_folder(spec)
    wanted = fold_name(spec.name)
    inside = [child for child in _folders(root) if fold_name(child.name) == wanted]
    for candidate in (root, *inside):
        if any(fold_name(child.name) in known for child in _folders(candidate)):
            return candidate
    raise UsageError(
        f"No domain of '{spec.name}' is in {root} (folders there: {_names(_folders(root))}): bring "
        f"{spec.folders_wanted} and say where they are {ways}."
    )


def scan_tree(root: Path, spec: DatasetSpec) -> tuple[FoundDomain, ...]:
    """Finds domains, classes and image files; hidden folders and stray files are passed over.

    Returns:
        The domains in canonical order.

    Raises:
        UsageError: fewer than two domains, two folders that mean the same domain, or a domain
            without images.
    """
    folders = _domain_folders(root, spec)
    if len(folders) < 2:
        wanted = "" if spec.domains is None else f" '{spec.name}' has {', '.join(spec.domains)}."
        raise UsageError(
            f"Retrieval across domains needs at least two domain folders; {root} holds "
            f"{_names(list(folders.values()))}.{wanted}"
        )
    domains = []
    for name, folder in folders.items():
        domain = _scan_domain(name, folder, root, spec)
        if not domain.images:
            raise UsageError(
                f"The domain folder {folder} holds no images in class folders "
                "(<domain>/<class>/<image>): fill it or take it out of the data root."
            )
        domains.append(domain)
    return tuple(domains)


def _domain_folders(root: Path, spec: DatasetSpec) -> dict[str, Path]:
    if spec.domains is None:
        return {child.name: child for child in _folders(root)}
    known = domain_of_folder(spec)
    found: dict[str, Path] = {}
    for child in _folders(root):
        domain = known.get(fold_name(child.name))
        if domain is None:
            continue
        if domain in found:
            raise UsageError(
                f"Two folders of {root} mean the domain '{domain}': '{found[domain].name}' and "
                f"'{child.name}'; keep one of them there."
            )
        found[domain] = child
    return {domain: found[domain] for domain in spec.domains if domain in found}


def _scan_domain(name: str, folder: Path, root: Path, spec: DatasetSpec) -> FoundDomain:
    listed = None
    if spec.classes is not None:
        listed = {fold_name(class_name): class_name for class_name in spec.classes}
    levels = {fold_name(level) for level in spec.levels}
    images = []
    for class_folder in _class_folders(folder, levels):
        class_name = class_folder.name
        if listed is not None:
            if fold_name(class_name) not in listed:
                continue
            class_name = listed[fold_name(class_name)]
        inside = class_folder.relative_to(root).as_posix()
        images += [(class_name, f"{inside}/{file}") for file in _image_files(class_folder)]
    return FoundDomain(name, tuple(sorted(images)))


def _class_folders(folder: Path, levels: set[str]) -> Iterator[Path]:
    """The class folders of a domain; a level folder is one that holds folders and no images.

    A class that happens to be called ``train`` holds images and stays a class.
    """
    for child in _folders(folder):
        is_level = fold_name(child.name) in levels and _folders(child) and not _image_files(child)
        if is_level:
            yield from _class_folders(child, levels)
        else:
            yield child


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir()]
    return [folder / name for name in sorted(names) if not name.startswith((".", "__"))]


def _image_files(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [
            entry.name
            for entry in entries
            if not entry.name.startswith(".") and is_image_name(entry.name) and not entry.is_dir()
        ]


def _names(folders: list[Path]) -> str:
    shown = [folder.name for folder in folders[:20]]
    if len(folders) > len(shown):
        shown.append(f"{len(folders) - len(shown)} more")
    return ", ".join(shown) if shown else "none"
