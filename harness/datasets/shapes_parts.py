"""Parts of the objects of ``shapes``, their paints, and the curves that bound them.

Object coordinates: x to the right, y down, an object lies roughly in [-1, 1] x [-1, 1].
Shapes: P points of one part.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Paint:
    """The colour of a part in domains that have colour.

    Attributes:
        hue: in turns; None takes the hue of the instance, and saturation and value then scale
            those of the instance.
        saturation: 0 to 1, or the scale.
        value: 0 to 1, or the scale.
    """

    hue: float | None
    saturation: float
    value: float


MAIN = Paint(None, 1.0, 1.0)
SHADE = Paint(None, 1.0, 0.72)
TINT = Paint(None, 0.45, 1.0)
PALE = Paint(None, 0.16, 1.1)
WOOD = Paint(0.07, 0.62, 0.5)
FOLIAGE = Paint(0.31, 0.65, 0.6)
CREAM = Paint(0.11, 0.18, 0.95)
BEAK = Paint(0.1, 0.85, 0.95)
GLASS = Paint(0.55, 0.25, 0.92)
METAL = Paint(0.6, 0.05, 0.75)
SLATE = Paint(0.62, 0.2, 0.38)
DARK = Paint(0.6, 0.15, 0.2)
WHITE = Paint(0.0, 0.0, 0.98)


@dataclass(frozen=True)
class Part:
    """One part of an object; parts are drawn in order, later ones hide earlier ones.

    Attributes:
        points_P2: the outline of a surface, or the course of a line.
        paint: its colour.
        width: None for a surface; for a line its width in object units.
    """

    points_P2: Points
    paint: Paint
    width: float | None = None


@dataclass(frozen=True)
class ObjectClass:
    """A class of objects, the same in all domains.

    Attributes:
        parts: draws the proportions of one instance.
        hue: the typical hue, in turns.
        tilt: largest rotation of an instance, in degrees.
    """

    parts: Callable[[Generator], list[Part]]
    hue: float
    tilt: float


def polygon(*points: tuple[float, float]) -> Points:
    """The corners as an array."""
    return np.array(points, dtype=np.float64)


def smooth(*points: tuple[float, float], samples: int = 6) -> Points:
    """Closed Catmull-Rom curve through the points, ``samples`` steps from one to the next."""
    corners = polygon(*points)
    t = np.arange(samples) / samples
    weights = 0.5 * np.stack(
        [
            -t + 2 * t**2 - t**3,
            2 - 5 * t**2 + 3 * t**3,
            t + 4 * t**2 - 3 * t**3,
            -(t**2) + t**3,
        ],
        axis=1,
    )
    neighbours = np.stack([np.roll(corners, shift, axis=0) for shift in (1, 0, -1, -2)], axis=1)
    return (weights @ neighbours).reshape(-1, 2)


def arc(
    x: float, y: float, rx: float, ry: float, start: float = 0.0, stop: float = 360.0
) -> Points:
    """Points on an ellipse about (x, y), angles in degrees, clockwise from the right."""
    angle = np.radians(np.linspace(start, stop, 25))
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def mirrored(half: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The right half of a symmetric outline, followed by its mirror image.

    Points with x = 0 lie on the axis and are not doubled.
    """
    return [*half, *((-x, y) for x, y in reversed(half) if x != 0)]


def quadratic(
    start: tuple[float, float], pull: tuple[float, float], stop: tuple[float, float]
) -> Points:
    """A quadratic Bezier curve."""
    t = np.linspace(0.0, 1.0, 13)[:, None]
    curve: Points = (1 - t) ** 2 * polygon(start) + 2 * t * (1 - t) * polygon(pull)
    return curve + t**2 * polygon(stop)


def bent(points_P2: Points, amount: float) -> Points:
    """Bends the vertical axis into a parabola."""
    return points_P2 + np.stack([amount * points_P2[:, 1] ** 2, 0.0 * points_P2[:, 1]], axis=1)
