"""Writing into the cache folder: atomically, and with a sentence where the disk refuses."""

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.whole_files import replacing

_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}
_OTHER_FOLDER = "choose another folder with --cache-dir or HARNESS_CACHE_DIR"


@contextmanager
def cache_writes(folder: Path) -> Iterator[None]:
    """Makes the folder and guards what is written into it.

    Raises:
        UsageError: the disk is full, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise UsageError(
                f"The disk of the cache folder {folder} is full: free some space or "
                f"{_OTHER_FOLDER}."
            ) from error
        if error.errno in _REFUSED:
            raise UsageError(
                f"The cache folder {folder} cannot be written ({error.strerror}): {_OTHER_FOLDER}."
            ) from error
        raise


def refuse_small_disk(folder: Path, needed: int, free: int) -> None:
    """Compares the bytes that are to be written with the free ones.

    Raises:
        UsageError: they do not fit.
    """
    if needed > free:
        raise UsageError(
            f"The decoded images need {needed / 1e9:.2f} GB, the disk of the cache folder {folder} "
            f"has {free / 1e9:.2f} GB free: free some space, take a smaller --image-size or "
            f"{_OTHER_FOLDER}."
        )


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file by rename: a reader sees the old file or the new one, never half of it.

    The caller holds the file's lock.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
