"""Random views of a batch of images, and the fixed view that evaluation looks at.

What is random is drawn per sample on the CPU (:func:`draw_views`) and then applied on whatever
device the frames are on (:func:`apply_views`), so one seed gives the same views everywhere and
nothing waits for the device.

Shapes: B images, F side of a frame in pixels, S side of a view (``image_size``), P = S * S pixels.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from harness.training.pixel_operators import (
    GREY_WEIGHTS,
    HUE,
    LINEAR_STEPS,
    ColourJitter,
    blur,
    colour_jitter,
    jitter_,
    resample,
    spans,
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

CROP_TRIES = 10
SMALLEST_SIGMA = 0.25
"""Pixels. A Gaussian below it changes no pixel by half a grey level, and is left out."""

NOT_JITTERED = LINEAR_STEPS + 1
"""Stands for an image whose colours stay, where others have the step (0 to 3) of their hue turn."""

CPU_PIXELS = 1 << 16
"""Pixels rendered at a time on a CPU: the three channels in float32 then fit its cache."""


@dataclass(frozen=True, kw_only=True)
class ViewRecipe:
    """What a random view does to an image. The defaults are MoCo v2's ``aug-plus``.

    CoDA's recipe (the picture squashed to 256 x 256, a random window of 224, flips) is
    ``ViewRecipe(resized_crop=False, jitter_p=0, grey_p=0, blur_p=0)``.

    Attributes:
        resized_crop: True for a random resized crop in the geometry of the original picture; False
            for the whole picture squashed to a square of side ``frame_size(S)`` and a random
            window of side S in it.
        area: range of the crop's share of the picture's area.
        ratio: range of its width / height, drawn evenly in the logarithm.
        jitter_p: probability of the colour jitter.
        brightness: largest relative change; the factor is drawn from ``1 +- brightness``.
        contrast: the same for contrast.
        saturation: the same for saturation.
        hue: largest hue shift, in turns.
        grey_p: probability of losing all colour.
        blur_p: probability of the Gaussian blur.
        sigma: range of its standard deviation in pixels of an image of side ``sigma_at``.
        sigma_at: image size that ``sigma`` is meant for. Sigma shrinks with the image
            (``sigma * S / sigma_at``), so the blur hides the same details at any size.
        flip_p: probability of the horizontal flip.
    """

    resized_crop: bool = True
    area: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    jitter_p: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    grey_p: float = 0.2
    blur_p: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)
    sigma_at: int = 224
    flip_p: float = 0.5

    def __post_init__(self) -> None:
        for name in ("jitter_p", "grey_p", "blur_p", "flip_p"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, got {getattr(self, name)}.")
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}.")
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"hue must lie in [0, 0.5] turns, got {self.hue}.")
        for name, low, high in (("area", *self.area), ("ratio", *self.ratio)):
            if not 0 < low <= high:
                raise ValueError(f"{name} must be a rising range above 0, got {(low, high)}.")
        if not 0 <= self.sigma[0] <= self.sigma[1] or self.sigma_at <= 0:
            raise ValueError("sigma must be a rising range from 0, and sigma_at above 0.")


@dataclass(frozen=True)
class ViewDraws:
    """The draws of one view of B images, all on the CPU.

    Attributes:
        box_B4: left, top, right, bottom as shares of the picture's width and height (float64).
        flip_B: whether it is mirrored.
        jitter_B: whether the colours are jittered.
        factor_B4: brightness, contrast and saturation factors and hue shift in turns (float32).
        order_B4: the four operations' ids in the order of their application (int64).
        grey_B: whether the colour is lost.
        sigma_B: standard deviation of the blur in pixels of the view (float32); 0 for none.
    """

    box_B4: Tensor
    flip_B: Tensor
    jitter_B: Tensor
    factor_B4: Tensor
    order_B4: Tensor
    grey_B: Tensor
    sigma_B: Tensor


def frame_size(image_size: int) -> int:
    """Side of the cached frame for views of side ``image_size``: 8/7 of it, made even.

    Twice as much as Resize(256) is to CenterCrop(224): 224 -> 256, 64 -> 74, 32 -> 36.
    """
    return 2 * round(image_size * 8 / 7 / 2)


def draw_views(
    recipe: ViewRecipe, size_B2: Tensor, image_size: int, generator: torch.Generator
) -> ViewDraws:
    """Draws one view of each image; images drawn twice get two views.

    Args:
        recipe: what to draw.
        size_B2: width and height of each original picture, in pixels, on the CPU.
        image_size: S.
        generator: a CPU generator, the only source of randomness.
    """
    count = len(size_B2)

    def chance(p: float) -> Tensor:
        return torch.rand(count, generator=generator) < p

    def between(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    if recipe.resized_crop:
        box_B4 = _draw_resized_crop(recipe, size_B2, generator)
    else:
        box_B4 = _draw_window(count, image_size, generator)
    factor_B4 = torch.stack(
        [
            between(1 - recipe.brightness, 1 + recipe.brightness),
            between(1 - recipe.contrast, 1 + recipe.contrast),
            between(1 - recipe.saturation, 1 + recipe.saturation),
            between(-recipe.hue, recipe.hue),
        ],
        1,
    )
    sigma_B = between(*recipe.sigma) * (image_size / recipe.sigma_at)
    return ViewDraws(
        box_B4=box_B4,
        flip_B=chance(recipe.flip_p),
        jitter_B=chance(recipe.jitter_p),
        factor_B4=factor_B4,
        order_B4=torch.rand(count, 4, generator=generator).argsort(1),
        grey_B=chance(recipe.grey_p),
        sigma_B=sigma_B * chance(recipe.blur_p),
    )


def _draw_resized_crop(recipe: ViewRecipe, size_B2: Tensor, generator: torch.Generator) -> Tensor:
    """Torchvision's RandomResizedCrop: ten tries for a box that fits, else a central one."""
    count = len(size_B2)
    width_B, height_B = size_B2.double().unbind(1)
    draw_2TB = torch.rand(2, CROP_TRIES, count, generator=generator, dtype=torch.float64)
    log_low, log_high = math.log(recipe.ratio[0]), math.log(recipe.ratio[1])
    area_TB = (
        width_B * height_B * (recipe.area[0] + draw_2TB[0] * (recipe.area[1] - recipe.area[0]))
    )
    ratio_TB = (log_low + draw_2TB[1] * (log_high - log_low)).exp()
    wide_TB = (area_TB * ratio_TB).sqrt().round()
    high_TB = (area_TB / ratio_TB).sqrt().round()
    fits_TB = (wide_TB > 0) & (wide_TB <= width_B) & (high_TB > 0) & (high_TB <= height_B)

    first_1B = fits_TB.int().argmax(0, keepdim=True)
    found_B = fits_TB.any(0)
    picture_B = width_B / height_B
    central_wide_B = torch.where(
        picture_B > recipe.ratio[1], (height_B * recipe.ratio[1]).round(), width_B
    )
    central_high_B = torch.where(
        picture_B < recipe.ratio[0], (width_B / recipe.ratio[0]).round(), height_B
    )
    wide_B = torch.where(found_B, wide_TB.gather(0, first_1B)[0], central_wide_B)
    high_B = torch.where(found_B, high_TB.gather(0, first_1B)[0], central_high_B)

    place_2B = torch.rand(2, count, generator=generator, dtype=torch.float64)
    spare_wide_B, spare_high_B = width_B - wide_B, height_B - high_B
    left_B = torch.where(found_B, place_2B[0] * (spare_wide_B + 1), spare_wide_B / 2).floor()
    top_B = torch.where(found_B, place_2B[1] * (spare_high_B + 1), spare_high_B / 2).floor()
    return torch.stack(
        [
            left_B / width_B,
            top_B / height_B,
            (left_B + wide_B) / width_B,
            (top_B + high_B) / height_B,
        ],
        1,
    )


def _draw_window(count: int, image_size: int, generator: torch.Generator) -> Tensor:
    """A window of ``image_size`` whole pixels in the squashed picture of ``frame_size``."""
    frame = frame_size(image_size)
    corner_B2 = torch.randint(frame - image_size + 1, (count, 2), generator=generator).double()
    return torch.cat([corner_B2, corner_B2 + image_size], 1) / frame


def _in_frame_pixels(draws: ViewDraws, frame: int) -> Tensor:
    """Left, top, right, bottom in frame pixels; left and right change places where mirrored."""
    box_B4 = (draws.box_B4 * frame).float()
    mirrored_B4 = box_B4[:, [2, 1, 0, 3]]
    return torch.where(draws.flip_B[:, None], mirrored_B4, box_B4)


def _normalisation() -> tuple[Tensor, Tensor]:
    """Scale and offset that take a channel from [0, 1] to ImageNet's mean 0 and deviation 1."""
    scale_31 = 1.0 / torch.tensor(IMAGENET_STD)[:, None]
    return scale_31, -torch.tensor(IMAGENET_MEAN)[:, None] * scale_31


def _kept_colours(grey_B: Tensor) -> Tensor:
    """For each image the matrix that takes its colour away, or leaves it."""
    to_grey_33 = torch.tensor(GREY_WEIGHTS).expand(3, 3)
    return torch.where(grey_B[:, None, None], to_grey_33, torch.eye(3))


def _parts(count: int, image_size: int, device: torch.device) -> Iterator[slice]:
    """The batch in parts that fit a CPU's cache, or as a whole where each launch costs."""
    size = max(1, CPU_PIXELS // image_size**2) if device.type == "cpu" else count
    return (slice(start, start + size) for start in range(0, count, size))


def _check_frames(frames_B3FF: Tensor, count: int) -> None:
    shape = tuple(frames_B3FF.shape)
    if frames_B3FF.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
        raise ValueError(f"frames must be uint8 (B, 3, F, F), got {frames_B3FF.dtype} {shape}.")
    if shape[0] != count:
        raise ValueError(f"{shape[0]} frames, but draws or sizes of {count} images.")


@torch.no_grad()
def apply_views(frames_B3FF: Tensor, draws: ViewDraws, image_size: int) -> Tensor:
    """Renders the drawn views on the device of the frames.

    The order is MoCo v2's: crop and resize, colour jitter, grey, blur, flip, normalise. Each step
    does what its torchvision counterpart does to a float image.

    Args:
        frames_B3FF: uint8 frames, each a whole picture squashed to a square.
        draws: one view per frame, drawn for the same ``image_size``.
        image_size: S.

    Returns:
        (B, 3, S, S) float32, normalised by ImageNet's mean and deviation.

    Raises:
        ValueError: frames of another shape or type, or draws of another number of images.
    """
    count, device = len(draws.flip_B), frames_B3FF.device
    _check_frames(frames_B3FF, count)
    # Images whose hue turns at the same step are made neighbours; those that keep their colours
    # come last. So a part of the batch needs slices only, which the CPU knows.
    hue_step_B = (draws.order_B4 == HUE).int().argmax(1)
    step_B, row_B = torch.where(draws.jitter_B, hue_step_B, NOT_JITTERED).sort(stable=True)
    steps = step_B.tolist()

    def sorted_on_device(x_B: Tensor) -> Tensor:
        return x_B[row_B].to(device, non_blocking=True)

    taken = spans(
        sorted_on_device(_in_frame_pixels(draws, frames_B3FF.shape[-1])),
        frames_B3FF.shape[-1],
        image_size,
        inside=True,
    )
    jitter = ColourJitter(*map(sorted_on_device, colour_jitter(draws.factor_B4, draws.order_B4)))
    scale_31, offset_31 = _normalisation()
    output_B33 = sorted_on_device(_kept_colours(draws.grey_B) * scale_31)
    offset_31 = offset_31.to(device, non_blocking=True)
    place_B = row_B.to(device, non_blocking=True)

    view_B3SS = torch.empty(count, 3, image_size, image_size, device=device)
    with torch.autocast(device.type, enabled=False):
        for part in _parts(count, image_size, device):
            x_B3SS = resample(frames_B3FF.index_select(0, place_B[part]), taken.rows(part))
            x_B3P = x_B3SS.div_(255.0).flatten(2)
            turns = [bisect_left(steps[part], step) for step in range(NOT_JITTERED + 1)]
            jittered = slice(0, turns[-1])
            jitter_(
                x_B3P[jittered],
                jitter.rows(part).rows(jittered),
                [slice(*ends) for ends in pairwise(turns)],
            )
            x_B3P = torch.baddbmm(offset_31, output_B33[part], x_B3P)
            view_B3SS.index_copy_(0, place_B[part], x_B3P.view_as(x_B3SS))
        _blur_(view_B3SS, draws.sigma_B)
    return view_B3SS


def _blur_(view_B3SS: Tensor, sigma_B: Tensor) -> None:
    """Blurs in place the images whose sigma (on the CPU) is large enough to show.

    It comes after the normalisation, with which it commutes.
    """
    place_B = (sigma_B >= SMALLEST_SIGMA).nonzero()[:, 0]
    if not len(place_B):
        return
    size, device = view_B3SS.shape[-1], view_B3SS.device
    reach = math.ceil(4 * float(sigma_B.max()))
    sigma_B = sigma_B[place_B].to(device, non_blocking=True)
    place_B = place_B.to(device, non_blocking=True)
    for part in _parts(len(place_B), size, device):
        blurred_B3SS = blur(view_B3SS.index_select(0, place_B[part]), sigma_B[part], reach)
        view_B3SS.index_copy_(0, place_B[part], blurred_B3SS)


@torch.no_grad()
def evaluation_view(frames_B3FF: Tensor, size_B2: Tensor, image_size: int) -> Tensor:
    """The view that is embedded for retrieval: short side to ``frame_size(S)``, central S x S.

    At S = 224 that is Resize(256), CenterCrop(224) of the original picture. Where all pictures
    are square and cached at ``frame_size(S)``, it is the frames' own pixels.

    Args:
        frames_B3FF: uint8 frames, each a whole picture squashed to a square.
        size_B2: width and height of each original picture, on the CPU.
        image_size: S.

    Returns:
        (B, 3, S, S) float32, normalised by ImageNet's mean and deviation.

    Raises:
        ValueError: frames of another shape or type, or sizes of another number of images.
    """
    _check_frames(frames_B3FF, len(size_B2))
    device, frame, short = frames_B3FF.device, frames_B3FF.shape[-1], frame_size(image_size)
    scale_311, offset_311 = (x[..., None].to(device, non_blocking=True) for x in _normalisation())
    if frame == short and bool((size_B2[:, 0] == size_B2[:, 1]).all()):
        edge = (frame - image_size) // 2
        inner = frames_B3FF[:, :, edge : edge + image_size, edge : edge + image_size].float()
        return inner.mul_(scale_311 / 255.0).add_(offset_311)

    size_B2 = size_B2.double()
    resized_B2 = (short * size_B2 / size_B2.amin(1, keepdim=True)).floor()
    corner_B2 = ((resized_B2 - image_size) / 2).round()
    box_B4 = torch.cat([corner_B2 / resized_B2, (corner_B2 + image_size) / resized_B2], 1)
    pixels_B4 = (box_B4 * frame).float().to(device, non_blocking=True)
    taken = spans(pixels_B4, frame, image_size, inside=False)
    view_B3SS = torch.empty(len(size_B2), 3, image_size, image_size, device=device)
    with torch.autocast(device.type, enabled=False):
        for part in _parts(len(size_B2), image_size, device):
            x_B3SS = resample(frames_B3FF[part], taken.rows(part))
            torch.add(x_B3SS.mul_(scale_311 / 255.0), offset_311, out=view_B3SS[part])
    return view_B3SS
