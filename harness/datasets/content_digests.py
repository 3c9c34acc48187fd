"""Content digests of the files of a data root, remembered between starts."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from harness.datasets.cache_folder import cache_writes, write_json
from harness.datasets.decode import Unreadable, content_digest
from harness.datasets.ordered_pool import map_in_order

_Entry = tuple[int, int, str]  # size in bytes, modification time in ns, digest


def digest_files(
    root: Path, paths: Sequence[str], cache_dir: Path
) -> tuple[dict[str, str], list[Unreadable]]:
    """The digest of every file; only new files and those that changed are read.

    A file counts as unchanged if its size and modification time are those of the entry kept in
    ``cache_dir/digests``.

    Args:
        root: folder the paths are relative to.
        paths: with forward slashes.
        cache_dir: the cache folder.

    Returns:
        Path -> digest, and the files that cannot be read.

    Raises:
        UsageError: the cache folder cannot be written.
    """
    folder = cache_dir / "digests"
    entries_file = folder / (hashlib.sha256(str(root).encode()).hexdigest()[:24] + ".json")
    with cache_writes(folder), FileLock(f"{entries_file}.lock"):
        known = _read_entries(entries_file)

        def current(path: str) -> _Entry | Unreadable:
            try:
                stat = (root / path).stat()
                entry = known.get(path)
                if entry is not None and entry[:2] == (stat.st_size, stat.st_mtime_ns):
                    return entry
                return stat.st_size, stat.st_mtime_ns, content_digest((root / path).read_bytes())
            except OSError as error:
                return Unreadable(path, error.strerror or str(error))

        digests: dict[str, str] = {}
        unreadable: list[Unreadable] = []
        changed: dict[str, _Entry] = {}
        for path, entry in zip(paths, map_in_order(current, paths), strict=True):
            if isinstance(entry, Unreadable):
                unreadable.append(entry)
                continue
            digests[path] = entry[2]
            if known.get(path) != entry:
                changed[path] = entry
        if changed:
            write_json(entries_file, {"root": str(root), "files": known | changed})
    return digests, unreadable


def _read_entries(entries_file: Path) -> dict[str, _Entry]:
    if not entries_file.exists():
        return {}
    try:
        files = json.loads(entries_file.read_text(encoding="utf-8"))["files"]
        return {
            path: (int(size), int(time), str(digest))
            for path, (size, time, digest) in files.items()
        }
    except (ValueError, KeyError, TypeError):
        return {}  # damaged by hand or by a lost disk: every digest is computed anew
