"""The linear operators that views are made of: resampling, colour and blur, one per sample.

A crop with antialiased resize is separable, so it is two matrix products per image, and so is a
Gaussian blur. Brightness, contrast, saturation and hue act on a pixel's three channels by a
3 x 3 matrix, a term that all channels share, and a clamp; see :func:`hue_matrices` for hue.

Shapes: B images, F side of a frame in pixels, S side of a view, P = S * S pixels, T taps of a
blur row.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

GREY_WEIGHTS = (0.2989, 0.587, 0.114)
"""ITU-R 601 luma, with torchvision's digits."""

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""The ids of the colour operations, in torchvision's order."""

LINEAR_STEPS = 3
"""Steps of a jitter that are not hue."""


class Spans(NamedTuple):
    """What a batch of views reads of its frames: per axis (across, then down) a span of pixels.

    Attributes:
        centre_B2S: centre of each output pixel, in units of the filter's reach.
        pixel_B2F: centre of each frame pixel, in the same units.
        covered_B2F: share of each frame pixel that may be read.
    """

    centre_B2S: Tensor
    pixel_B2F: Tensor
    covered_B2F: Tensor

    def rows(self, part: slice) -> "Spans":
        """The spans of some of the images."""
        return Spans(self.centre_B2S[part], self.pixel_B2F[part], self.covered_B2F[part])


def spans(box_B4: Tensor, frame: int, size: int, *, inside: bool) -> Spans:
    """Prepares the resampling of a box of each frame; the box need not end between pixels.

    Args:
        box_B4: left, top, right, bottom in frame pixels (float32); left > right mirrors.
        frame: F.
        size: S.
        inside: True when nothing outside the box may be read (crop, then resize); False when
            the whole frame is resized and then cropped.
    """
    first_B21, last_B21 = box_B4[:, :2, None], box_B4[:, 2:, None]
    step_B21 = (last_B21 - first_B21) / size
    reach_B21 = step_B21.abs().clamp(min=1.0)
    pixel_F = torch.arange(frame, device=box_B4.device, dtype=torch.float32)
    output_S = torch.arange(size, device=box_B4.device, dtype=torch.float32)
    low_B21, high_B21 = torch.minimum(first_B21, last_B21), torch.maximum(first_B21, last_B21)
    if not inside:
        low_B21, high_B21 = torch.zeros_like(low_B21), torch.full_like(high_B21, frame)
    covered_B2F = torch.minimum(pixel_F + 1.0, high_B21) - torch.maximum(pixel_F, low_B21)
    return Spans(
        centre_B2S=(first_B21 + (output_S + 0.5) * step_B21) / reach_B21,
        pixel_B2F=(pixel_F + 0.5) / reach_B21,
        covered_B2F=covered_B2F.clamp_(0.0, 1.0),
    )


def resampling_matrices(taken: Spans) -> Tensor:
    """Antialiased bilinear weights: the triangle filter of Pillow's and torchvision's ``BILINEAR``.

    Returns:
        (B, 2, S, F), across and down; each row sums to 1.
    """
    distance_B2SF = taken.pixel_B2F[:, :, None] - taken.centre_B2S[..., None]
    weight_B2SF = torch.rsub(distance_B2SF.abs_(), 1.0).clamp_(min=0.0)
    weight_B2SF *= taken.covered_B2F[:, :, None]
    return weight_B2SF.div_(weight_B2SF.sum(3, keepdim=True))


def resample(frames_B3FF: Tensor, taken: Spans) -> Tensor:
    """Cuts a box out of each uint8 frame and resizes it.

    Returns:
        (B, 3, S, S) float32 in [0, 255].
    """
    count, _, frame, _ = frames_B3FF.shape
    across_BSF, down_BSF = resampling_matrices(taken).unbind(1)
    size = across_BSF.shape[1]
    narrow = torch.bmm(frames_B3FF.float().view(count, 3 * frame, frame), across_BSF.mT)
    return torch.matmul(down_BSF[:, None], narrow.view(count, 3, frame, size))


class ColourJitter(NamedTuple):
    """Colour jitter of B images as matrices, each image in its own order of operations.

    Attributes:
        matrix_B333: the three operations that are not hue, in each image's order.
        from_mean_B331: what each of them adds to a pixel per mean of the image's channels.
        hue_B33: the matrix of the hue rotation.
        hue_shared_B11: its weight of (largest + smallest channel).
    """

    matrix_B333: Tensor
    from_mean_B331: Tensor
    hue_B33: Tensor
    hue_shared_B11: Tensor

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
        The matrices (B, 3, 3) and the weights (B, 1, 1) of ``max + min``.
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
    return matrix_B33, (1.0 - rest_B.abs())[:, None, None]


def colour_jitter(factor_B4: Tensor, order_B4: Tensor) -> ColourJitter:
    """Builds the matrices of a drawn jitter, on the CPU.

    Args:
        factor_B4: brightness, contrast, saturation factors and hue shift.
        order_B4: for each image the operations' ids in the order of their application.
    """
    linear_B3 = order_B4[order_B4 != HUE].view(-1, LINEAR_STEPS)
    factor_B311 = factor_B4.gather(1, linear_B3)[:, :, None, None]
    mixed_B311 = 1.0 - factor_B311
    operation_B311 = linear_B3[:, :, None, None]
    grey_3 = torch.tensor(GREY_WEIGHTS)
    return ColourJitter(
        factor_B311 * torch.eye(3)
        + mixed_B311 * (operation_B311 == SATURATION) * grey_3.expand(3, 3),
        mixed_B311 * (operation_B311 == CONTRAST) * grey_3[:, None],
        *hue_matrices(factor_B4[:, HUE]),
    )


def jitter_(x_B3P: Tensor, jitter: ColourJitter, turning: Sequence[slice]) -> None:
    """Jitters colours in place.

    Args:
        x_B3P: pixels in [0, 1].
        jitter: of these images, on their device.
        turning: the images whose hue turns before the first of the other operations, before the
            second, before the third, and after it.
    """
    for step, images in enumerate(turning):
        if images.stop > images.start:
            _turn_hue_(x_B3P[images], jitter.hue_B33[images], jitter.hue_shared_B11[images])
        if step < LINEAR_STEPS:
            mean_B13 = x_B3P.mean(2)[:, None]
            offset_B11 = torch.bmm(mean_B13, jitter.from_mean_B331[:, step])
            mixed_B3P = torch.baddbmm(offset_B11, jitter.matrix_B333[:, step], x_B3P)
            torch.clamp(mixed_B3P, 0.0, 1.0, out=x_B3P)


def _turn_hue_(x_B3P: Tensor, hue_B33: Tensor, shared_B11: Tensor) -> None:
    low_B1P = x_B3P.amin(1, keepdim=True)
    high_B1P = x_B3P.amax(1, keepdim=True)
    shared_B1P = (low_B1P + high_B1P).mul_(shared_B11)
    turned_B3P = torch.bmm(hue_B33, x_B3P).add_(shared_B1P)
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
