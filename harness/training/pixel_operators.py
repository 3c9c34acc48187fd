"""The linear operators that views are made of: resampling, colour and blur, one per sample.

A crop with antialiased resize is separable, so it is two matrix products per image, and so is a
Gaussian blur. Brightness, contrast, saturation and hue act on a pixel's three channels by a
3 x 3 matrix, a term that all channels share, and a clamp; see :func:`hue_matrices` for hue.

Shapes: B images, F side of a frame in pixels, S side of a view, P = S * S pixels, T taps of a
blur row.
"""

from typing import NamedTuple

import torch
from torch import Tensor

GREY_WEIGHTS = (0.2989, 0.587, 0.114)
"""ITU-R 601 luma, with torchvision's digits."""

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""The ids of the colour operations, in torchvision's order."""

LINEAR_STEPS = 3
"""Steps of a jitter that are not hue."""


def resampling_matrices(
    first_B: Tensor, last_B: Tensor, frame: int, size: int, *, inside: bool
) -> Tensor:
    """Antialiased bilinear resampling of a span of pixels along one axis.

    The weights are the triangle filter of Pillow's ``BILINEAR`` and torchvision's
    ``antialias=True``, generalised to spans that begin or end within a pixel.

    Args:
        first_B: where the output begins, in frame pixels from the frame's edge (float32).
        last_B: where it ends; smaller than ``first_B`` mirrors the output.
        frame: F.
        size: S.
        inside: True when nothing outside the span may be read (crop, then resize); False when
            the whole frame is resized and then cropped.

    Returns:
        (B, S, F) weights; each row sums to 1.
    """
    device = first_B.device
    step_B = (last_B - first_B) / size
    pixel_F = torch.arange(frame, device=device, dtype=torch.float32)
    output_S = torch.arange(size, device=device, dtype=torch.float32)
    centre_BS = first_B[:, None] + (output_S + 0.5) * step_B[:, None]
    reach_B11 = step_B.abs().clamp(min=1.0)[:, None, None]
    distance_BSF = (pixel_F + 0.5) / reach_B11 - centre_BS[:, :, None] / reach_B11
    weight_BSF = torch.rsub(distance_BSF.abs_(), 1.0).clamp_(min=0.0)
    if inside:
        low_B1 = torch.minimum(first_B, last_B)[:, None]
        high_B1 = torch.maximum(first_B, last_B)[:, None]
        covered_BF = torch.minimum(pixel_F + 1.0, high_B1) - torch.maximum(pixel_F, low_B1)
        weight_BSF *= covered_BF.clamp_(0.0, 1.0)[:, None, :]
    return weight_BSF.div_(weight_BSF.sum(2, keepdim=True))


def resample(frames_B3FF: Tensor, span_B4: Tensor, size: int, *, inside: bool) -> Tensor:
    """Cuts a box out of each frame and resizes it.

    Args:
        frames_B3FF: uint8 frames.
        span_B4: left, top, right, bottom in frame pixels (float32); left > right mirrors.
        size: S.
        inside: as in :func:`resampling_matrices`.

    Returns:
        (B, 3, S, S) float32 in [0, 1].
    """
    count, _, frame, _ = frames_B3FF.shape
    span_4B = span_B4.T
    both = resampling_matrices(
        span_4B[:2].flatten(), span_4B[2:].flatten(), frame, size, inside=inside
    )
    across_BSF, down_BSF = both[:count], both[count:] / 255.0
    pixels_B3FF = frames_B3FF.float()
    narrow = torch.bmm(pixels_B3FF.view(count, 3 * frame, frame), across_BSF.mT)
    return torch.matmul(down_BSF[:, None], narrow.view(count, 3, frame, size))


class ColourJitter(NamedTuple):
    """Colour jitter of B images as matrices, each image in its own order of operations.

    Attributes:
        matrix_B333: the three operations that are not hue, in each image's order.
        mean_weight_B3: weight of the image's mean grey in each of the three.
        hue_B33: the matrix of the hue rotation.
        hue_shared_B1: its weight of (largest + smallest channel).
    """

    matrix_B333: Tensor
    mean_weight_B3: Tensor
    hue_B33: Tensor
    hue_shared_B1: Tensor

    def rows(self, part: slice) -> "ColourJitter":
        """The jitter of some of the images."""
        return ColourJitter(*(field[part] for field in self))


def hue_matrices(shift_B: Tensor) -> tuple[Tensor, Tensor]:
    """A hue rotation in HSV, exactly, without leaving RGB.

    With H in sextants, a colour's channel k is ``min + (max - min) * clamp(2 - d(H, 2k), 0, 1)``,
    d being the distance around the hexagon. Distances to the six corners are linear in RGB
    (``d(H, red) = 1 + G + B - R`` for channels scaled to [0, 1], opposite corners add to 3), and
    between two corners a distance may be interpolated: where that is not exact both sides lie
    beyond the same clamp. So a rotation by t of at most one sextant is

        ``R' = clamp((1 - t) (max + min) + R - G - (1 - 2t) B, min, max)``, G and B in turn,

    with G and B swapped for a rotation the other way; a rotation by two sextants permutes channels.

    Args:
        shift_B: hue shift in turns, any value (torchvision's ``hue_factor``).

    Returns:
        The matrices (B, 3, 3) and the weights (B, 1) of ``max + min``.
    """
    sextants_B = (shift_B * 6.0).remainder(6.0)
    thirds_B = (sextants_B / 2.0).round()
    rest_B = sextants_B - 2.0 * thirds_B
    towards_B = torch.where(rest_B >= 0, -1.0, 2.0 * rest_B.abs() - 1.0)
    away_B = torch.where(rest_B >= 0, 2.0 * rest_B.abs() - 1.0, -1.0)
    circulant_B3 = torch.stack([torch.ones_like(rest_B), towards_B, away_B], 1)
    channel_3 = torch.arange(3)
    column_B33 = (channel_3 - channel_3[:, None] + thirds_B.long()[:, None, None]) % 3
    matrix_B33 = circulant_B3[:, None, :].expand(-1, 3, -1).gather(2, column_B33)
    return matrix_B33, (1.0 - rest_B.abs())[:, None]


def colour_jitter(factor_B4: Tensor, order_B4: Tensor) -> ColourJitter:
    """Builds the matrices of a drawn jitter, on the CPU.

    Args:
        factor_B4: brightness, contrast, saturation factors and hue shift.
        order_B4: for each image the operations' ids in the order of their application.
    """
    linear_B3 = order_B4[order_B4 != HUE].view(-1, 3)
    factor_B3 = factor_B4.gather(1, linear_B3)
    grey_B3 = (1.0 - factor_B3) * (linear_B3 == SATURATION)
    to_grey_33 = torch.tensor(GREY_WEIGHTS).expand(3, 3)
    return ColourJitter(
        factor_B3[:, :, None, None] * torch.eye(3) + grey_B3[:, :, None, None] * to_grey_33,
        (1.0 - factor_B3) * (linear_B3 == CONTRAST),
        *hue_matrices(factor_B4[:, HUE]),
    )


def apply_linear_step_(x_B3P: Tensor, jitter: ColourJitter, step: int) -> None:
    """One of the three operations that are not hue, in place, for all images at once.

    Args:
        x_B3P: pixels in [0, 1].
        jitter: of these images, on their device.
        step: 0, 1 or 2.
    """
    weights_3 = torch.tensor(GREY_WEIGHTS, device=x_B3P.device)
    mean_grey_B1 = x_B3P.mean(2) @ weights_3[:, None]
    offset_B11 = (mean_grey_B1 * jitter.mean_weight_B3[:, step, None])[:, :, None]
    mixed_B3P = torch.baddbmm(offset_B11, jitter.matrix_B333[:, step], x_B3P)
    torch.clamp(mixed_B3P, 0.0, 1.0, out=x_B3P)


def apply_hue_(x_B3P: Tensor, jitter: ColourJitter) -> None:
    """Turns the hue of each image in place; see :func:`hue_matrices`."""
    low_B1P = x_B3P.amin(1, keepdim=True)
    high_B1P = x_B3P.amax(1, keepdim=True)
    shared_B1P = (low_B1P + high_B1P).mul_(jitter.hue_shared_B1[:, :, None])
    turned_B3P = torch.bmm(jitter.hue_B33, x_B3P).add_(shared_B1P)
    torch.clamp(turned_B3P, low_B1P, high_B1P, out=x_B3P)


def blur_matrices(sigma_B: Tensor, reach: int, size: int) -> Tensor:
    """Gaussian blur along one axis; beyond the edge the edge pixel goes on, as in Pillow.

    Args:
        sigma_B: standard deviations in pixels, above 0.
        reach: pixels beyond the edge that are counted; 4 times the largest sigma is enough.
        size: S.

    Returns:
        (B, S, S) weights; each row sums to 1.
    """
    output_S = torch.arange(size, device=sigma_B.device, dtype=torch.float32)
    tap_T = torch.arange(-reach, size + reach, device=sigma_B.device, dtype=torch.float32)
    square_ST = (output_S[:, None] - tap_T).square_()
    exponent_BST = square_ST * (-0.5 / sigma_B.square())[:, None, None]
    # Denormal numbers would make exp several times slower on a CPU.
    weight_BST = exponent_BST.clamp_(min=-60.0).exp_()
    weight_BST /= weight_BST.sum(2, keepdim=True)
    inner_BSS = weight_BST[:, :, reach : reach + size]
    inner_BSS[:, :, 0] += weight_BST[:, :, :reach].sum(2)
    inner_BSS[:, :, -1] += weight_BST[:, :, reach + size :].sum(2)
    return inner_BSS


def blur(x_B3SS: Tensor, sigma_B: Tensor, reach: int) -> Tensor:
    """Blurs each image with its own sigma; arguments as in :func:`blur_matrices`."""
    count, _, size, _ = x_B3SS.shape
    matrix_BSS = blur_matrices(sigma_B, reach, size)
    across = torch.bmm(x_B3SS.reshape(count, 3 * size, size), matrix_BSS.mT)
    return torch.matmul(matrix_BSS[:, None], across.view(count, 3, size, size))
