"""Draws one picture of ``shapes``: an object, posed once, in the style of a domain.

A style draws on a canvas several times the picture's size, which is then averaged down.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from numpy.random import PCG64, Generator
from PIL import Image

from harness.datasets.shapes_outlines import CLASSES
from harness.datasets.shapes_pen import draw_clipart, draw_quickdraw, draw_sketch, lay_on_paper
from harness.datasets.shapes_pose import Colouring, Shape, pose
from harness.datasets.shapes_real import draw_real, expose


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a domain draws.

    Attributes:
        draw: draws posed shapes on a square canvas of the given side.
        colouring: what its colours are.
        canvas: least side of the canvas, in pixels.
        finish: what is done at the final size.
    """

    draw: Callable[[list[Shape], Generator, int], Image.Image]
    colouring: Colouring
    canvas: int
    finish: Callable[[Image.Image, Generator], Image.Image] | None = None


VIVID = Colouring(hue_spread=0.025, saturation=(0.6, 0.95), value=(0.8, 1.0))
NATURAL = Colouring(hue_spread=0.03, saturation=(0.5, 0.9), value=(0.55, 0.95))

STYLES: dict[str, Style] = {
    "clipart": Style(draw=draw_clipart, colouring=VIVID, canvas=192),
    "quickdraw": Style(draw=draw_quickdraw, colouring=VIVID, canvas=192),
    "real": Style(draw=draw_real, colouring=NATURAL, canvas=128, finish=expose),
    "sketch": Style(draw=draw_sketch, colouring=VIVID, canvas=128, finish=lay_on_paper),
}


def draw_instance(
    domain: str, class_name: str, instance: int, *, seed: int, image_size: int
) -> Image.Image:
    """One RGB picture, a pure function of the arguments.

    Args:
        domain: a key of ``STYLES``.
        class_name: a key of ``CLASSES``.
        instance: which one; pictures of two domains never show the same instance.
        seed: of the data set.
        image_size: side in pixels.
    """
    style = STYLES[domain]
    rng = instance_generator(seed, domain, class_name, instance)
    factor = max(2, -(-style.canvas // image_size))
    side = factor * image_size
    shapes = pose(CLASSES[class_name], style.colouring, rng, side)
    picture = style.draw(shapes, rng, side).reduce(factor)
    if style.finish is not None:
        picture = style.finish(picture, rng)
    return picture.convert("RGB")


def instance_generator(seed: int, domain: str, class_name: str, instance: int) -> Generator:
    """The generator of one picture, whatever the number of pictures around it."""
    key = f"shapes/{seed}/{domain}/{class_name}/{instance}"
    return Generator(PCG64(int.from_bytes(hashlib.sha256(key.encode()).digest())))
