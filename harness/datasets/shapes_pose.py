"""Poses an object of ``shapes``: the proportions, colours, size and place of one instance.

Shapes: P points of one part.
"""

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from harness.datasets.shapes_parts import ObjectClass, Paint, Points

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Colouring:
    """How strongly a domain's colours vary about the typical ones.

    Attributes:
        hue_spread: standard deviation of the instances' hue, in turns (cut at two of them).
        saturation: range of the instances' saturation.
        value: range of the instances' value.
    """

    hue_spread: float
    saturation: tuple[float, float]
    value: tuple[float, float]


@dataclass(frozen=True)
class Shape:
    """A posed part, in the frame of the picture.

    Attributes:
        points_P2: outline or course, in pixels.
        colour: of the part.
        width: None for a surface; for a line its width in pixels.
    """

    points_P2: Points
    colour: Rgb
    width: float | None

    @property
    def xy(self) -> list[float]:
        """The points as Pillow takes them."""
        return flat(self.points_P2)


def flat(points_P2: Points) -> list[float]:
    """The x and y of every point in turn, as Pillow takes them."""
    coordinates: list[float] = points_P2.ravel().tolist()
    return coordinates


def rgb(hue: float, saturation: float, value: float) -> Rgb:
    """8-bit colour of a hue in turns; saturation and value are cut at 1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, min(saturation, 1.0), min(value, 1.0))
    return round(255 * red), round(255 * green), round(255 * blue)


def _colour(paint: Paint, main: tuple[float, float, float], rng: Generator) -> Rgb:
    if paint.hue is None:
        return rgb(main[0], main[1] * paint.saturation, main[2] * paint.value)
    return rgb(
        paint.hue + rng.normal(0.0, 0.015),
        paint.saturation * rng.uniform(0.8, 1.15),
        paint.value * rng.uniform(0.85, 1.05),
    )


def pose(thing: ObjectClass, colouring: Colouring, rng: Generator, side: int) -> list[Shape]:
    """One instance of a class: its own proportions, colours, pose, size and place.

    Args:
        thing: the class.
        colouring: of the domain.
        rng: of the instance.
        side: of the square picture, in pixels; it changes nothing but the scale.
    """
    parts = thing.parts(rng)
    hue = thing.hue + colouring.hue_spread * float(np.clip(rng.normal(), -2.0, 2.0))
    main = (hue, rng.uniform(*colouring.saturation), rng.uniform(*colouring.value))
    angle = np.radians(rng.uniform(-thing.tilt, thing.tilt))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1.0, rng.uniform(-0.25, 0.25)], [0.0, 1.0]])
    aspect = np.sqrt(rng.uniform(0.75, 1.33))
    flip = rng.choice([-1.0, 1.0])
    transform = rotation @ shear @ np.diag([flip * aspect, 1.0 / aspect])
    placed = [part.points_P2 @ transform.T for part in parts]
    low = np.min([points.min(axis=0) for points in placed], axis=0)
    extent = np.max([points.max(axis=0) for points in placed], axis=0) - low
    scale = rng.uniform(0.45, 0.88) / float(extent.max())
    margin = 0.04
    corner = margin + rng.random(2) * (1.0 - 2 * margin - scale * extent)
    return [
        Shape(
            ((points - low) * scale + corner) * side,
            _colour(part.paint, main, rng),
            None if part.width is None else part.width * scale * side,
        )
        for part, points in zip(parts, placed, strict=True)
    ]
