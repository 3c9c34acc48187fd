"""Miniature folder trees of images for the tests of data sets."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from harness.datasets.contract import DatasetIndex
from harness.datasets.dataset_index import build_index
from harness.datasets.folder import SPEC
from harness.datasets.folder_tree import FoundDomain


def picture(name, width=40, height=30):
    """A smooth picture of its own for every name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def write_picture(path: Path, **size):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(str(path), **size).save(path)


def write_tree(root: Path, folders, images=2):
    """``images`` PNG files in every folder, such as ``Art/Bed``."""
    for folder in folders:
        for number in range(images):
            write_picture(root / folder / f"{number}.png")
    return root


def index_of(classes_of_domain: dict[str, str], name="letters") -> DatasetIndex:
    """An index without files: domain -> one letter per image, its class."""
    found, digests = [], {}
    for domain, letters in classes_of_domain.items():
        images = []
        for number, letter in enumerate(letters):
            path = f"{domain}/{letter}/{number}.png"
            images.append((letter, path))
            digests[path] = f"{zlib.crc32(path.encode()):032x}"
        found.append(FoundDomain(domain, tuple(images)))
    return build_index(name, SPEC, Path("nowhere"), found, digests)
