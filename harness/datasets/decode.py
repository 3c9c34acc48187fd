"""One image file to one frame: the whole image, squashed to a square of uint8 RGB.

Shapes: F side of a frame in pixels; 3FF is (channel, row, column).
"""

import hashlib
import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from harness.errors import UsageError

DECODER_VERSION = 1
"""Part of every frame store's key: raise it when frames come out different."""

Frame = tuple[NDArray[np.uint8], tuple[int, int]]
"""A frame 3FF, and the original image's (width, height) in pixels, after EXIF rotation."""

_EXIF_ORIENTATION = 274
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_NOT_IMAGES = {"EPS", "IPTC", "MPEG"}  # need Ghostscript, wrap other files, cannot be decoded
_LISTED = 20


@dataclass(frozen=True)
class Unreadable:
    """A file that looks like an image by its name and cannot be read.

    Attributes:
        path: as the user knows it: relative to the data root.
        reason: what the decoder said.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"

    @property
    def skipped_sentence(self) -> str:
        """The warning of a run that goes on without the file."""
        return f"The unreadable image {self.path} was skipped ({self.reason})."


def _formats() -> dict[str, str]:
    """Lower-case file name extension -> Pillow format, for formats that Pillow can decode."""
    found = {}
    for extension, name in Image.registered_extensions().items():
        if name not in Image.OPEN or name in _NOT_IMAGES:
            continue
        factory = Image.OPEN[name][0]
        if isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile):
            continue
        found[extension.lower()] = name
    return found


_FORMAT_OF_EXTENSION = _formats()
_FORMATS = sorted(set(_FORMAT_OF_EXTENSION.values()))


def is_image_name(name: str) -> bool:
    """Whether Pillow decodes files of that name's extension (``.JPG``, ``.png``, ``.webp`` ...)."""
    stem, dot, extension = name.rpartition(".")
    return bool(stem) and f"{dot}{extension.lower()}" in _FORMAT_OF_EXTENSION


def refuse_unreadable(unreadable: list[Unreadable]) -> None:
    """Stops the run with all unreadable files named.

    Raises:
        UsageError: the list is not empty.
    """
    if not unreadable:
        return
    lines = [f"  {item}" for item in unreadable[:_LISTED]]
    if len(unreadable) > _LISTED:
        lines.append(f"  and {len(unreadable) - _LISTED} more")
    noun = "1 image" if len(unreadable) == 1 else f"{len(unreadable)} images"
    raise UsageError(
        f"{noun} cannot be read; repair or remove them, or leave them out with "
        "--skip-unreadable:\n" + "\n".join(lines)
    )


def decode_frame(content: bytes, frame_size: int) -> Frame:
    """Decodes an image file of any format.

    The first picture of an animation is taken, an EXIF rotation is carried out, transparency is
    put on white, grey of 16 bits is scaled to 8. The image is squashed to F x F whatever its
    aspect ratio, by an antialiased bilinear filter; a JPEG is first reduced by its decoder
    (by 2, 4 or 8, never below 2F), other formats by a box filter (likewise).

    Args:
        content: the file's bytes.
        frame_size: F.

    Returns:
        The frame and the size of the image.

    Raises:
        Exception: whatever Pillow raises for a broken file.
    """
    with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
        size = image.size
        drafted = image.draft(None, (2 * frame_size, 2 * frame_size))
        image.load()
        orientation = _orientation(image)
        squashed = _rgb(image).resize(
            (frame_size, frame_size),
            Image.Resampling.BILINEAR,
            box=None if drafted is None else drafted[1],  # without the padding of the last block
            reducing_gap=2.0,
        )
    if orientation in _UPRIGHT:
        squashed = squashed.transpose(_UPRIGHT[orientation])
    if orientation >= 5:
        size = (size[1], size[0])
    return np.ascontiguousarray(np.asarray(squashed).transpose(2, 0, 1)), size


def decode_file(path: Path, shown_path: str, digest: str, frame_size: int) -> Frame | Unreadable:
    """Reads and decodes one file, and checks that it still is what was indexed.

    Returns:
        As ``decode_frame``, or why the content is no image.

    Raises:
        UsageError: the file cannot be read at all, or has changed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} was indexed and can no longer be read ({error.strerror}); the data root must "
            "be the same folder on every machine of the run."
        ) from error
    if content_digest(content) != digest:
        raise UsageError(f"{path} changed after it was indexed: run the command again.")
    try:
        return decode_frame(content, frame_size)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly every kind of exception
        return Unreadable(shown_path, _reason(error))


def content_digest(content: bytes) -> str:
    """The digest that names a file's content everywhere: BLAKE2b, 128 bits, hexadecimal."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "no image of a known format"
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200]


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except (SyntaxError, struct.error, ValueError, KeyError, TypeError, OSError):
        # The pixels are intact; every viewer shows an image with damaged EXIF as it is stored.
        return 1
    return value if value in range(1, 9) else 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_16_bits(image)
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined white")
    if "transparency" in image.info or "A" in image.getbands() or image.mode in ("La", "RGBa"):
        colours = image.convert("RGBA")
        white = Image.new("RGB", colours.size, "white")
        white.paste(colours, mask=colours.getchannel("A"))
        return white
    return image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    grey = np.asarray(image)
    if grey.min() < 0 or grey.max() > 65535:
        raise ValueError("pixels of 32 bits have no defined white")
    return Image.fromarray(((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)).convert("RGB")
