"""The decode-once cache: every image is decoded once per machine, then only mapped.

One store per domain: a file of uint8 frames and one of the images' original sizes, in
``<cache>/frames/<F>px-<key>/``. The key is a hash over the content digests of the domain's images
in their order, F, and the decoder's version: neither a moved data root, nor a renamed class, nor a
change of another domain decodes an image again.

Shapes: N images of a domain, F side of a frame in pixels; N3FF is (image, channel, row, column).
"""

import hashlib
import json
import math
import os
import shutil
import socket
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import PIL
import torch
from filelock import FileLock
from torch import Tensor

from harness.config import Pair
from harness.datasets.cache_folder import cache_writes, refuse_small_disk, write_json
from harness.datasets.contract import DatasetIndex, DomainIndex
from harness.datasets.dataset_index import drop_images
from harness.datasets.decode import (
    DECODER_VERSION,
    Frame,
    Unreadable,
    decode_file,
    refuse_unreadable,
)
from harness.datasets.ordered_pool import map_in_order
from harness.datasets.scenario import domain_subset
from harness.errors import UsageError

Progress = Callable[[str, int, int], None]
"""Called as progress(domain, images done, images of the domain) while a domain is decoded."""

_FRAMES = "frames_N3FF.uint8"
_SIZES = "size_N2.float32"
_SPARE_BYTES = 64 << 20


@dataclass(frozen=True)
class DomainFrames:
    """The decoded images of one domain, or of a part of it, in the order of its index.

    Attributes:
        domain: canonical name.
        frames_N3FF: uint8 RGB, whole images squashed to F x F. Straight from ``open_frames`` it is
            a read-only map of the cache file, shared by all processes through the page cache:
            writing into it ends the process.
        size_N2: float32 (width, height) of the original images, in pixels, after EXIF rotation.
    """

    domain: str
    frames_N3FF: Tensor
    size_N2: Tensor

    def __len__(self) -> int:
        return len(self.frames_N3FF)


def prepare(
    index: DatasetIndex,
    domains: Sequence[str],
    frame_size: int,
    cache_dir: Path,
    *,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
) -> DatasetIndex:
    """Decodes what this machine has not decoded yet; to be called once before any training.

    Args:
        index: as opened.
        domains: the domains a study needs.
        frame_size: F.
        cache_dir: the cache folder.
        skip_unreadable: leave out broken images instead of stopping.
        progress: told about every decoded image.

    Returns:
        The index, without the broken images if these are skipped, with one warning for each. All
        later calls (``open_frames``, scenario, metrics) take this index.

    Raises:
        UsageError: broken images (all of them listed), the disk is full, the cache folder cannot
            be written, or an image changed since it was indexed.
    """
    _check_space(index, domains, frame_size, cache_dir)
    unreadable = {
        name: _ensure_store(index, index.domain(name), frame_size, cache_dir, progress)
        for name in domains
    }
    if not skip_unreadable:
        refuse_unreadable([item for items in unreadable.values() for item in items])
    for name, items in unreadable.items():
        if items:
            paths = [item.path for item in items]
            index = drop_images(index, name, paths, [item.skipped_sentence for item in items])
    return index


def open_frames(
    index: DatasetIndex,
    domain: str,
    frame_size: int,
    cache_dir: Path,
    *,
    progress: Progress | None = None,
) -> DomainFrames:
    """Maps the frames of a domain; decodes them first where this machine has none.

    Args:
        index: as returned by ``prepare``.
        domain: canonical name.
        frame_size: F.
        cache_dir: the cache folder.
        progress: told about every decoded image.

    Raises:
        UsageError: as ``prepare``; a broken image always stops here, for the index counts it.
    """
    images = index.domain(domain)
    refuse_unreadable(_ensure_store(index, images, frame_size, cache_dir, progress))
    folder = _store_folder(images.digests, frame_size, cache_dir)
    shape = (len(images), 3, frame_size, frame_size)
    return DomainFrames(
        domain=domain,
        frames_N3FF=_map_frames(folder / _FRAMES, shape),
        size_N2=torch.from_numpy(np.fromfile(folder / _SIZES, np.float32).reshape(-1, 2)),
    )


def pair_frames(
    index: DatasetIndex,
    pair: Pair,
    scenario: str,
    seed: int,
    frame_size: int,
    cache_dir: Path,
) -> tuple[DomainFrames, DomainFrames]:
    """The frames that a training of this pair sees.

    In ``close`` both domains are whole and stay shared maps; in ``partial`` and ``open`` the domain
    that keeps half of the classes is copied into memory.

    Args:
        index: as returned by ``prepare``.
        pair: for ``partial`` and ``open``, a is the query domain and b the gallery.
        scenario: ``close``, ``partial`` or ``open``.
        seed: of the scenario's class split.
        frame_size: F.
        cache_dir: the cache folder.

    Raises:
        UsageError: as ``open_frames`` and ``domain_subset``.
    """
    positions = domain_subset(index, scenario, seed, *pair)
    selected = []
    for name, position_N in zip(pair, positions, strict=True):
        frames = open_frames(index, name, frame_size, cache_dir)
        if len(position_N) < len(frames):
            kept_N = torch.from_numpy(position_N)
            frames = DomainFrames(name, frames.frames_N3FF[kept_N], frames.size_N2[kept_N])
        selected.append(frames)
    return selected[0], selected[1]


def _store_folder(digests: Sequence[str], frame_size: int, cache_dir: Path) -> Path:
    text = f"{DECODER_VERSION} {PIL.__version__} {frame_size} {' '.join(digests)}"
    key = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
    return cache_dir / "frames" / f"{frame_size}px-{key}"


def _check_space(
    index: DatasetIndex, domains: Sequence[str], frame_size: int, cache_dir: Path
) -> None:
    needed = 0
    for name in domains:
        digests = index.domain(name).digests
        folder = _store_folder(digests, frame_size, cache_dir)
        if not folder.exists() and not _verdict_file(folder).exists():
            needed += len(digests) * 3 * frame_size**2
    if needed:
        with cache_writes(cache_dir):
            free = shutil.disk_usage(cache_dir).free
        refuse_small_disk(cache_dir, needed + _SPARE_BYTES, free)


def _ensure_store(
    index: DatasetIndex,
    domain: DomainIndex,
    frame_size: int,
    cache_dir: Path,
    progress: Progress | None,
) -> list[Unreadable]:
    """Builds the store of a domain unless it is there.

    Where images are broken, the store of the others is built under the key of the others, and the
    verdict is kept beside it: the next start neither decodes again nor asks again.

    Returns:
        The broken images.
    """
    folder = _store_folder(domain.digests, frame_size, cache_dir)
    if folder.exists():
        return []
    with cache_writes(folder.parent), FileLock(f"{folder}.lock"):
        if folder.exists():
            return []
        verdict_file = _verdict_file(folder)
        if verdict_file.exists():
            reasons = json.loads(verdict_file.read_text(encoding="utf-8"))
        else:
            _check_root(index)
            reasons = _build_store(index, domain, frame_size, folder, progress)
            if reasons:
                write_json(verdict_file, reasons)
    return [
        Unreadable(path, reasons[digest])
        for path, digest in zip(domain.paths, domain.digests, strict=True)
        if digest in reasons
    ]


def _check_root(index: DatasetIndex) -> None:
    """A machine of a cluster may lack the folder; that is no verdict on its images."""
    if not index.root.is_dir():
        raise UsageError(
            f"The data root {index.root} is missing on {socket.gethostname()}: mount it there "
            "under the same path, or leave that machine out of the cluster."
        )


def _build_store(
    index: DatasetIndex,
    domain: DomainIndex,
    frame_size: int,
    folder: Path,
    progress: Progress | None,
) -> dict[str, str]:
    """Decodes a domain into a new folder; the caller holds its lock.

    Returns:
        Digest -> reason of the broken images, which the store does not hold.
    """
    unfinished = folder.with_name(folder.name + ".partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        reasons: dict[str, str] = {}
        sizes, kept = [], []
        decode = partial(_decode_image, index.root, frame_size)
        images = list(zip(domain.paths, domain.digests, strict=True))
        with warnings.catch_warnings(), (unfinished / _FRAMES).open("wb") as file:
            warnings.simplefilter("ignore")  # Pillow warns of metadata; the pixels decide here
            results = map_in_order(decode, images)
            for done, ((_, digest), result) in enumerate(zip(images, results, strict=True), 1):
                if isinstance(result, Unreadable):
                    reasons[digest] = result.reason
                else:
                    file.write(result[0].data)
                    sizes.append(result[1])
                    kept.append(digest)
                if progress is not None:
                    progress(domain.name, done, len(images))
            file.flush()
            os.fsync(file.fileno())
        np.array(sizes, dtype=np.float32).tofile(unfinished / _SIZES)
        if kept:
            _publish(unfinished, _store_folder(kept, frame_size, folder.parents[1]))
        return reasons
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _decode_image(root: Path, frame_size: int, image: tuple[str, str]) -> Frame | Unreadable:
    path, digest = image
    return decode_file(root / path, path, digest, frame_size)


def _publish(unfinished: Path, final: Path) -> None:
    try:
        unfinished.rename(final)
    except OSError:
        # A run that had skipped the broken images built the same store under its own lock.
        if not final.exists():
            raise


def _verdict_file(folder: Path) -> Path:
    return folder.with_name(folder.name + ".unreadable.json")


def _map_frames(file: Path, shape: tuple[int, int, int, int]) -> Tensor:
    if file.stat().st_size != math.prod(shape):
        raise UsageError(f"The frame store {file.parent} is damaged: delete that folder.")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.memmap(file, np.uint8, mode="r", shape=shape))
