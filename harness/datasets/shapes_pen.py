"""The domains of ``shapes`` that are drawn with lines: clipart, quickdraw and sketch.

Shapes: P points of one part, R repetitions of a stroke, L points of a stroke.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from harness.datasets.shapes_parts import Points
from harness.datasets.shapes_pose import Rgb, Shape, flat, rgb


def draw_clipart(shapes: list[Shape], rng: Generator, side: int) -> Image.Image:
    """Flat colours inside a thick outline, on white or on a pale ground."""
    ground = (255, 255, 255)
    if rng.random() < 0.3:
        ground = rgb(rng.random(), rng.uniform(0.08, 0.25), rng.uniform(0.9, 1.0))
    shade = int(rng.integers(0, 60))
    ink = (shade, shade, shade)
    thick = side * rng.uniform(0.026, 0.042)
    picture = Image.new("RGB", (side, side), ground)
    canvas = ImageDraw.Draw(picture)
    for shape in shapes:
        if shape.width is None:
            canvas.polygon(shape.xy, fill=shape.colour)
            draw_line(canvas, np.concatenate([shape.points_P2, shape.points_P2[:2]]), ink, thick)
        elif shape.width > thick:
            draw_line(canvas, shape.points_P2, ink, shape.width + 1.2 * thick)
            draw_line(canvas, shape.points_P2, shape.colour, shape.width - 0.4 * thick)
        else:
            draw_line(canvas, shape.points_P2, ink, 0.7 * thick)
    return picture


def draw_quickdraw(shapes: list[Shape], rng: Generator, side: int) -> Image.Image:
    """One thin, wobbly, black line that does not quite close, on white."""
    picture = Image.new("L", (side, side), 255)
    canvas = ImageDraw.Draw(picture)
    wobble = side * rng.uniform(0.006, 0.013)
    for shape in shapes:
        stroke_L2 = _strokes(_course(shape), rng, 1, wobble, step=0.1 * side, samples=4)[0]
        if shape.width is None:
            canvas.polygon(flat(stroke_L2), fill=255)
        draw_line(canvas, stroke_L2, 0, 0.02 * side)
    return picture


def draw_sketch(shapes: list[Shape], rng: Generator, side: int) -> Image.Image:
    """Three pencil strokes along every outline and hatching; white where there is graphite.

    ``lay_on_paper`` turns it into the picture. The r-th strokes of all parts share a layer; the
    layers add up, as graphite does, and a part rubs out on all of them what it hides.
    """
    layers = [Image.new("L", (side, side), 0) for _ in range(3)]
    pencils = [ImageDraw.Draw(layer) for layer in layers]
    tones = Image.new("L", (side, side), 0)
    toner = ImageDraw.Draw(tones)
    pressure, thin = rng.uniform(60.0, 100.0), 0.012 * side
    for shape in shapes:
        if shape.width is None:
            for pencil in pencils:
                pencil.polygon(shape.xy, fill=0)
            darkness = 1.0 - sum(shape.colour) / 765
            toner.polygon(shape.xy, fill=round(60 + 190 * darkness))
        course_P2, repeats = _course(shape), 3 if shape.width is None else 2
        strokes_RL2 = _strokes(course_P2, rng, repeats, 0.006 * side, step=0.2 * side, samples=6)
        strokes_RL2 += rng.normal(0.0, 0.009 * side, (repeats, 1, 2))
        lifts = rng.integers(2, 4, repeats)
        for pencil, stroke_L2, lift in zip(pencils, strokes_RL2, lifts, strict=False):
            for piece_P2 in _pieces(stroke_L2, int(lift)):
                shift = rng.normal(0.0, 0.005 * side, 2)
                grey = round(pressure + rng.uniform(-30.0, 40.0))
                draw_line(pencil, piece_P2 + shift, grey, thin * rng.uniform(1.0, 1.8))
    graphite = ImageChops.multiply(_hatching(rng, side), tones)
    for layer in layers:
        graphite = ImageChops.add(graphite, layer)
    return graphite


def lay_on_paper(graphite: Image.Image, rng: Generator) -> Image.Image:
    """Grey strokes on paper whose grain shows in both."""
    grain = rng.random((graphite.height, graphite.width), dtype=np.float32)
    tone = rng.uniform(228.0, 250.0)
    strokes = np.asarray(graphite, dtype=np.float32) * (0.6 + 0.5 * grain)
    picture = tone - strokes - rng.uniform(4.0, 12.0) * grain
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def draw_line(
    canvas: ImageDraw.ImageDraw, points_P2: Points, fill: int | Rgb, width: float
) -> None:
    """A line of a width in pixels (at least 1), with round joints and ends."""
    pixels = max(1, round(width))
    canvas.line(flat(points_P2), fill=fill, width=pixels, joint="curve")
    if pixels > 2:
        radius = pixels / 2
        for x, y in (points_P2[0], points_P2[-1]):
            canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _course(shape: Shape) -> Points:
    """Where the pen goes: around a surface, along a line."""
    if shape.width is not None:
        return shape.points_P2
    return np.concatenate([shape.points_P2, shape.points_P2[:1]])


def _strokes(
    course_P2: Points, rng: Generator, repeats: int, wobble: float, *, step: float, samples: int
) -> NDArray[np.float64]:
    """The course as an unsteady hand follows it, several times.

    Args:
        course_P2: where the pen should go.
        rng: source of the unsteadiness.
        repeats: number of strokes.
        wobble: standard deviation from the course, in pixels.
        step: length after which the deviation is a new one, in pixels.
        samples: points per step.

    Returns:
        Strokes of shape (R, L, 2).
    """
    length = np.hypot(*np.diff(course_P2, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(length)])
    steps = max(1, int(along[-1] / step))
    where = np.linspace(0.0, along[-1], steps * samples + 1)
    steady_L2 = np.stack([np.interp(where, along, course_P2[:, axis]) for axis in (0, 1)], axis=1)
    knots = rng.normal(0.0, wobble, (repeats, steps + 1, 1, 2))
    share = (np.arange(samples) / samples)[:, None]
    deviation = knots[:, :-1] * (1 - share) + knots[:, 1:] * share
    strokes_RL2 = np.repeat(steady_L2[None], repeats, axis=0)
    strokes_RL2[:, :-1] += deviation.reshape(repeats, -1, 2)
    strokes_RL2[:, -1] += knots[:, -1, 0]
    return strokes_RL2


def _pieces(stroke_L2: Points, count: int) -> Iterator[Points]:
    """A stroke in pieces, between which the pencil was lifted; they overlap by a sample."""
    ends = np.linspace(0, len(stroke_L2), count, dtype=int).tolist()
    for first, last in pairwise(ends):
        yield stroke_L2[first : last + 2]


def _hatching(rng: Generator, side: int) -> Image.Image:
    """Parallel pencil strokes over the whole canvas."""
    hatching = Image.new("L", (side, side), 0)
    pencil = ImageDraw.Draw(hatching)
    angle = rng.uniform(0.3, 1.3) * rng.choice([-1.0, 1.0])
    along = side * np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-np.sin(angle), np.cos(angle)])
    gap = side * rng.uniform(0.045, 0.075)
    offsets = np.arange(-0.75 * side, 0.75 * side, gap)
    for offset in offsets + rng.normal(0.0, 0.2 * gap, len(offsets)):
        middle = side / 2 + across * offset
        skew = across * rng.normal(0.0, 0.03 * side)
        stroke = np.stack([middle - along - skew, middle + along + skew])
        draw_line(pencil, stroke, int(rng.integers(50, 110)), 0.012 * side)
    return hatching
