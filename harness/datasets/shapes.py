"""``shapes``: a generated miniature of DomainNet, the data set that needs no data.

Twelve classes of objects in four domains. A class is one outline that all domains share, drawn
in four ways; every picture shows an instance of its own, so no two domains hold twins.
As a command it writes the tree, or a contact sheet of it::

    python -m harness.datasets.shapes --root DIR --images-per-class 200
    python -m harness.datasets.shapes --contact-sheet FILE.png
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock
from PIL import Image, ImageDraw, ImageFont

from harness.datasets.contract import DatasetSpec, StudyDefaults
from harness.datasets.shapes_drawing import STYLES, draw_instance
from harness.datasets.shapes_outlines import CLASSES
from harness.errors import UsageError, nearest

DOMAIN_NAMES = tuple(STYLES)
CLASS_NAMES = tuple(CLASSES)
DRAWING_VERSION = 2  # raised whenever the same settings give other pictures
STAMP = "shapes.json"

SPEC = DatasetSpec(
    name="shapes",
    ks=(1, 5, 15),
    primary_metric="P@1",
    defaults=StudyDefaults(
        backbone="test_resnet",
        weights="random",
        image_size=32,
        batch_size=50,
        epochs=16,
        trials=4,
    ),
    domains=DOMAIN_NAMES,
    classes=CLASS_NAMES,
    default_pairs=(("clipart", "real"), ("quickdraw", "sketch")),
    folders_wanted="none: shapes is generated",
)


@dataclass(frozen=True, kw_only=True)
class ShapesSettings:
    """What decides every pixel of the data set.

    Attributes:
        seed: of all pictures.
        images_per_class: pictures per domain and class; a smaller data set is a prefix of a
            larger one.
        image_size: side of the square pictures, in pixels.

    Raises:
        UsageError: a size is out of range.
    """

    seed: int = 0
    images_per_class: int = 60
    image_size: int = 64

    def __post_init__(self) -> None:
        if self.images_per_class < 1:
            raise UsageError(
                f"shapes needs at least 1 image per class, not {self.images_per_class}."
            )
        if not 16 <= self.image_size <= 1024:
            raise UsageError(
                f"shapes draws images of 16 to 1024 pixels a side, not {self.image_size}."
            )

    @property
    def folder_name(self) -> str:
        """A name for the tree that changes with everything that changes its pictures."""
        return (
            f"shapes-v{DRAWING_VERSION}-seed{self.seed}-{self.images_per_class}x{self.image_size}px"
        )


def draw(domain: str, class_name: str, instance: int, settings: ShapesSettings) -> Image.Image:
    """One picture: RGB, square, a pure function of the arguments.

    Args:
        domain: one of ``DOMAIN_NAMES``.
        class_name: one of ``CLASS_NAMES``.
        instance: 0, 1, ...; need not be below ``images_per_class``.
        settings: seed and size are used.

    Raises:
        UsageError: unknown domain or class.
    """
    if domain not in STYLES:
        raise UsageError(f"shapes has no domain '{domain}'. {nearest(domain, STYLES)}")
    if class_name not in CLASSES:
        raise UsageError(f"shapes has no class '{class_name}'. {nearest(class_name, CLASSES)}")
    return draw_instance(
        domain, class_name, instance, seed=settings.seed, image_size=settings.image_size
    )


def generate(root: Path, settings: ShapesSettings) -> Path:
    """Writes ``root/<domain>/<class>/<nnn>.png`` unless it is there already.

    The tree appears as a whole: it is built in a sibling folder and renamed, under a file lock,
    so several processes may call this at once.

    Args:
        root: folder of the data set, absent or empty; ``settings.folder_name`` is a good name.
        settings: what to draw.

    Returns:
        ``root``.

    Raises:
        UsageError: ``root`` holds something else, or cannot be written.
    """
    if _is_complete(root, settings):
        return root
    target = root.resolve()
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if _is_complete(target, settings):
                return root
            if partial.exists():
                shutil.rmtree(partial)
            _write_tree(partial, settings)
            partial.replace(target)
    except OSError as error:
        raise UsageError(
            f"The shapes data set cannot be written to '{root}' ({error.strerror or error}): "
            "name a folder that is writable and has free space."
        ) from error
    return root


def _stamp(settings: ShapesSettings) -> dict[str, int]:
    return {"drawing_version": DRAWING_VERSION, **asdict(settings)}


def _is_complete(root: Path, settings: ShapesSettings) -> bool:
    """Whether the tree is there; refuses a folder that holds anything else."""
    if not root.exists():
        return False
    if not root.is_dir():
        raise UsageError(f"'{root}' is a file: name a folder for the shapes data set.")
    stamp = root / STAMP
    if stamp.is_file():
        found, wanted = json.loads(stamp.read_text(encoding="utf-8")), _stamp(settings)
        if found == wanted:
            return True
        difference = ", ".join(
            f"{key} {found.get(key)} instead of {wanted[key]}"
            for key in wanted
            if found.get(key) != wanted[key]
        )
        raise UsageError(
            f"'{root}' holds a shapes data set made with {difference}: remove it or name another "
            "folder."
        )
    if any(root.iterdir()):
        raise UsageError(
            f"'{root}' holds other files: name an empty or new folder for the shapes data set."
        )
    return False


def _write_tree(folder: Path, settings: ShapesSettings) -> None:
    digits = max(3, len(str(settings.images_per_class - 1)))
    for domain in DOMAIN_NAMES:
        for class_name in CLASS_NAMES:
            leaf = folder / domain / class_name
            leaf.mkdir(parents=True)
            for instance in range(settings.images_per_class):
                picture = draw(domain, class_name, instance, settings)
                picture.save(leaf / f"{instance:0{digits}d}.png", compress_level=1)
    stamp = json.dumps(_stamp(settings), indent=1) + "\n"
    (folder / STAMP).write_text(stamp, encoding="utf-8")


def contact_sheet(settings: ShapesSettings, instances: int = 3) -> Image.Image:
    """All classes (rows) in all domains (groups of columns), a few instances of each."""
    size, gap, margin = settings.image_size, 4, 76
    group = instances * size + gap
    sheet = Image.new(
        "RGB", (margin + len(DOMAIN_NAMES) * group, 22 + len(CLASS_NAMES) * size), "white"
    )
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, domain in enumerate(DOMAIN_NAMES):
        middle = margin + column * group + instances * size // 2
        canvas.text((middle, 11), domain, "black", font, anchor="mm")
    for row, class_name in enumerate(CLASS_NAMES):
        top = 22 + row * size
        canvas.text((4, top + size // 2), class_name, "black", font, anchor="lm")
        for column, domain in enumerate(DOMAIN_NAMES):
            left = margin + column * group
            for instance in range(instances):
                picture = draw(domain, class_name, instance, settings)
                sheet.paste(picture, (left + instance * size, top))
    return sheet


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the data set or its contact sheet.

    Returns:
        Exit code: 0 done, 2 the command line is wrong.
    """
    defaults = ShapesSettings()
    parser = argparse.ArgumentParser(
        prog="python -m harness.datasets.shapes",
        description="Writes the built-in data set, or a contact sheet of it.",
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--root", type=Path, metavar="DIR", help="write the tree of images here")
    target.add_argument("--contact-sheet", type=Path, metavar="FILE", help="write a PNG overview")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--images-per-class", type=int, default=defaults.images_per_class)
    parser.add_argument("--image-size", type=int, default=defaults.image_size)
    flags = parser.parse_args(argv)
    try:
        settings = ShapesSettings(
            seed=flags.seed,
            images_per_class=flags.images_per_class,
            image_size=flags.image_size,
        )
        if flags.root is not None:
            print(generate(flags.root, settings))
        else:
            contact_sheet(settings).save(flags.contact_sheet, format="PNG", optimize=True)
            print(flags.contact_sheet)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {flags.contact_sheet} cannot be written: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
