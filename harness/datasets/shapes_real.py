"""The domain ``real`` of ``shapes``: lit, shaded bodies that cast a shadow on a textured ground.

Shapes: P points of one part; H, W rows and columns of the canvas, or of a window of it.
"""

import math

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from harness.datasets.shapes_pen import draw_line
from harness.datasets.shapes_pose import Shape, flat, rgb

Pixels = NDArray[np.float32]
Vector = tuple[float, float, float]


def draw_real(shapes: list[Shape], rng: Generator, side: int) -> Image.Image:
    """A scene with one light: textured ground, cast shadow, shaded body."""
    scene_3HW = _texture(rng, side)
    if rng.random() < 0.5:
        horizon = int(side * rng.uniform(0.45, 0.75))
        scene_3HW[:, horizon:] = _texture(rng, side)[:, horizon:]
    around = rng.uniform(0.0, 2 * math.pi)
    light = _unit((0.75 * math.cos(around), -0.35 - 0.4 * abs(math.sin(around)), 0.9))
    albedo_3HW, height_HW, mask = _body(shapes, side)

    reach = side * rng.uniform(0.1, 0.2)
    shadow = Image.new("L", (side, side), 0)
    shadow.paste(255, (round(-reach * light[0]), round(-reach * light[1])), mask)
    shadow = shadow.filter(ImageFilter.BoxBlur(side * 0.035))
    scene_3HW *= 1.0 - rng.uniform(0.4, 0.65) * _share(shadow)

    left, top, right, bottom = box = _window(shapes, side)
    here = slice(top, bottom), slice(left, right)
    body_3HW = _lit(albedo_3HW[:, *here], height_HW[here], light, rng)
    ground_3HW = scene_3HW[:, *here]
    ground_3HW += (body_3HW - ground_3HW) * _share(mask.crop(box))
    across = np.linspace(-1.0, 1.0, side, dtype=np.float32)
    scene_3HW *= 1.0 + 0.12 * (light[0] * across[None, :] + light[1] * across[:, None])
    bands_3HW = (np.clip(scene_3HW, 0.0, 1.0) * 255).astype(np.uint8)
    return Image.merge("RGB", [Image.fromarray(band_HW) for band_HW in bands_3HW])


def expose(picture: Image.Image, rng: Generator) -> Image.Image:
    """Exposure and noise of a camera, at the final size."""
    pixels_HW3 = np.asarray(picture, dtype=np.float32) * rng.uniform(0.85, 1.1)
    pixels_HW3 += rng.uniform(3.0, 9.0) * rng.standard_normal(pixels_HW3.shape, dtype=np.float32)
    return Image.fromarray(np.clip(pixels_HW3, 0, 255).astype(np.uint8))


def _unit(vector: Vector) -> Vector:
    x, y, z = vector
    norm = math.sqrt(x * x + y * y + z * z)
    return x / norm, y / norm, z / norm


def _share(mask: Image.Image) -> Pixels:
    """A mask as (H, W) in [0, 1]."""
    return np.asarray(mask, dtype=np.float32) / np.float32(255)


def _window(shapes: list[Shape], side: int, border: float = 2.0) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a box in the canvas that holds the shapes with a border."""
    reach = border + max(shape.width or 0.0 for shape in shapes)
    low = np.min([shape.points_P2.min(axis=0) for shape in shapes], axis=0) - reach
    high = np.max([shape.points_P2.max(axis=0) for shape in shapes], axis=0) + reach
    left, top = np.clip(np.floor(low), 0, side - 1).astype(int).tolist()
    right, bottom = np.clip(np.ceil(high), 1, side).astype(int).tolist()
    return left, top, right, bottom


def _value_noise(rng: Generator, size: tuple[int, ...], cells: int) -> Pixels:
    """Smooth noise of a size (H, W) in about [0, 1], ``cells`` features from side to side."""
    grid = Image.fromarray(rng.random((cells + 1, cells + 1), dtype=np.float32))
    return np.asarray(grid.resize((size[1], size[0]), Image.Resampling.BICUBIC))


def _texture(rng: Generator, side: int) -> Pixels:
    """A textured surface of two related colours: mottled or with grain, (3, H, W) in [0, 1]."""
    hue, saturation = rng.random(), rng.uniform(0.03, 0.28)
    value, contrast = rng.uniform(0.35, 0.85), rng.uniform(0.12, 0.3)
    dark = rgb(hue, saturation, value - contrast / 2)
    light = rgb(hue + rng.uniform(-0.06, 0.06), saturation, value + contrast / 2)
    coarse_HW = _value_noise(rng, (side, side), int(rng.integers(3, 7)))
    fine_HW = _value_noise(rng, (side, side), int(rng.integers(16, 32)))
    if rng.random() < 0.4:
        angle, waves = rng.uniform(0.0, math.pi), 2 * math.pi * rng.uniform(4.0, 9.0)
        along = np.linspace(0.0, waves, side, dtype=np.float32)
        phase = math.cos(angle) * along[None, :] + math.sin(angle) * along[:, None]
        coarse_HW = 0.5 + 0.5 * np.sin(phase + 2.5 * coarse_HW)
    blend_HW = np.clip(0.65 * coarse_HW + 0.35 * fine_HW, 0.0, 1.0)
    low, high = np.array([dark, light], dtype=np.float32)[:, :, None, None] / np.float32(255)
    return low + (high - low) * blend_HW


def _body(shapes: list[Shape], side: int) -> tuple[Pixels, Pixels, Image.Image]:
    """Colours (3, H, W) in [0, 1], height (H, W) in pixels, and mask of an object.

    Every part is a cushion on those before it: a broad and a narrow blur of its stencil, raised
    by the mean height of what it covers. The blur reaches past the silhouette, so that the slope
    at the rim is its own.
    """
    albedo = Image.new("RGB", (side, side))
    covered_HW = np.zeros((side, side), dtype=np.bool_)
    height_HW = np.zeros((side, side), dtype=np.float32)
    for shape in shapes:
        breadth = shape.width or float(np.ptp(shape.points_P2, axis=0).min())
        left, top, right, bottom = _window([shape], side, border=2.0 + 0.2 * breadth)
        stencil = Image.new("L", (right - left, bottom - top), 0)
        canvas = ImageDraw.Draw(stencil)
        points_P2 = shape.points_P2 - (left, top)
        if shape.width is None:
            canvas.polygon(flat(points_P2), fill=255)
        else:
            draw_line(canvas, points_P2, 255, shape.width)
        albedo.paste(shape.colour, (left, top), stencil)
        inside_HW = np.asarray(stencil) > 0
        cushion_HW = _cushion(inside_HW, breadth)
        behind_HW = covered_HW[top:bottom, left:right]
        below_HW = height_HW[top:bottom, left:right]
        cushion_HW += (below_HW * (behind_HW & inside_HW)).sum() / max(1, inside_HW.sum())
        np.copyto(below_HW, cushion_HW, where=inside_HW | ~behind_HW)
        behind_HW |= inside_HW
    albedo_3HW = np.stack([_share(band) for band in albedo.split()])
    return albedo_3HW, height_HW, Image.fromarray(covered_HW.astype(np.uint8) * 255)


def _cushion(inside_HW: NDArray[np.bool_], breadth: float) -> Pixels:
    """A broad blur of a stencil and a narrow one, so steep that the rim slopes by 60 degrees."""
    # Here, because it takes a quarter of a second and --help needs the data set's defaults only.
    from scipy.ndimage import uniform_filter1d

    stencil_HW = inside_HW.astype(np.float32)
    cushion_HW = np.zeros(inside_HW.shape, dtype=np.float32)
    for share, steepness in ((0.4, 1.1), (0.12, 0.7)):
        reach = max(1, round(share * breadth))
        blur_HW = stencil_HW
        for axis in (0, 1, 0, 1):
            blur_HW = uniform_filter1d(blur_HW, reach, axis, mode="constant")
        cushion_HW += steepness * reach * blur_HW
    return cushion_HW


def _lit(albedo_3HW: Pixels, height_HW: Pixels, light: Vector, rng: Generator) -> Pixels:
    """Lambert's law, a highlight after Blinn and Phong, and a mottled surface."""
    slope_y_HW, slope_x_HW = np.gradient(height_HW)
    norm_HW = np.sqrt(slope_x_HW**2 + slope_y_HW**2 + 1.0)
    half = _unit((light[0], light[1], light[2] + 1.0))
    toward_HW = (light[2] - light[0] * slope_x_HW - light[1] * slope_y_HW) / norm_HW
    mirror_HW = (half[2] - half[0] * slope_x_HW - half[1] * slope_y_HW) / norm_HW
    ambient = rng.uniform(0.3, 0.45)
    shade_HW = ambient + (1.25 - ambient) * np.maximum(toward_HW, 0.0)
    shade_HW *= 0.9 + 0.2 * _value_noise(rng, height_HW.shape, int(rng.integers(8, 16)))
    gloss_HW = np.maximum(mirror_HW, 0.0)
    for _ in range(5):
        gloss_HW *= gloss_HW
    return albedo_3HW * shade_HW + rng.uniform(0.1, 0.5) * gloss_HW
