import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision.transforms as v1
import torchvision.transforms.functional as tvf
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter1d
from scipy.stats import chisquare, ks_2samp, kstest
from sklearn.datasets import load_sample_image

from harness.training import views as module
from harness.training.pixel_operators import resampling_matrices, spans
from harness.training.views import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ViewDraws,
    ViewRecipe,
    apply_views,
    draw_views,
    evaluation_view,
    frame_size,
)

PLAIN = ViewRecipe(area=(1.0, 1.0), ratio=(1.0, 1.0), jitter_p=0, grey_p=0, blur_p=0, flip_p=0)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def sizes(count, width=64, height=64):
    return torch.tensor([[width, height]]).expand(count, 2)


def picture(width, height, seed=0):
    """Smooth shapes with sharp edges and some noise: what pictures consist of."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    channels = []
    for _ in range(3):
        a, b, c, d = rng.uniform(2, 14, 4)
        wave = np.sin(a * x + b * y) + np.sin(c * x - d * y)
        disc = (x - rng.uniform(0.2, 0.8)) ** 2 + (y - rng.uniform(0.2, 0.8)) ** 2 < 0.04
        channels.append(0.5 + 0.2 * wave + 0.3 * disc + 0.03 * rng.standard_normal(x.shape))
    return Image.fromarray((np.stack(channels, 2).clip(0, 1) * 255).astype(np.uint8))


def frame_of(image, frame):
    squashed = image.resize((frame, frame), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(squashed)).permute(2, 0, 1).contiguous()


def frames(count, side):
    return torch.stack([frame_of(picture(side, side, seed), side) for seed in range(count)])


def pixels(view_B3SS):
    """Undoes the normalisation."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    return view_B3SS * std + mean


def whole(count, **changes):
    """Draws that change nothing, apart from the given."""
    draws = ViewDraws(
        box_B4=torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64).repeat(count, 1),
        flip_B=torch.zeros(count, dtype=torch.bool),
        jitter_B=torch.zeros(count, dtype=torch.bool),
        factor_B4=torch.tensor([[1.0, 1.0, 1.0, 0.0]]).repeat(count, 1),
        order_B4=torch.arange(4).repeat(count, 1),
        grey_B=torch.zeros(count, dtype=torch.bool),
        sigma_B=torch.zeros(count),
    )
    return replace(draws, **changes)


def test_frame_size():
    assert [frame_size(s) for s in (224, 64, 32)] == [256, 74, 36]
    assert all(frame_size(s) % 2 == 0 and frame_size(s) >= s for s in range(2, 512, 2))


def test_two_copies_of_one_image_come_out_different():
    copies = frames(1, 36).expand(8, -1, -1, -1)
    view = apply_views(copies, draw_views(ViewRecipe(), sizes(8), 32, seeded()), 32)
    assert view.shape == (8, 3, 32, 32)
    assert view.dtype == torch.float32
    apart = torch.cdist(view.flatten(1), view.flatten(1)) + 1e9 * torch.eye(8)
    assert apart.min() > 1


def test_same_seed_same_views_and_no_global_draws():
    before = torch.get_rng_state()
    batch = frames(6, 36)
    first, second, other = (
        apply_views(batch, draw_views(ViewRecipe(), sizes(6), 32, seeded(s)), 32) for s in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_view_does_not_depend_on_its_neighbours(monkeypatch):
    batch = frames(12, 36)
    draws = draw_views(ViewRecipe(sigma=(0.5, 2), sigma_at=32), sizes(12), 32, seeded(3))
    together = apply_views(batch, draws, 32)
    for row in range(12):
        alone = ViewDraws(*(getattr(draws, name)[row : row + 1] for name in vars(draws)))
        view = apply_views(batch[row : row + 1], alone, 32)[0]
        assert torch.allclose(view, together[row], atol=2e-4)
    monkeypatch.setattr(module, "CPU_PIXELS", 5 * 32 * 32)
    assert torch.allclose(apply_views(batch, draws, 32), together)


def test_autocast_does_not_coarsen_the_pixels():
    batch = frames(4, 36)
    draws = draw_views(ViewRecipe(), sizes(4, 50, 40), 32, seeded())
    plain = apply_views(batch, draws, 32), evaluation_view(batch, sizes(4, 50, 40), 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = apply_views(batch, draws, 32), evaluation_view(batch, sizes(4, 50, 40), 32)
    assert torch.equal(plain[0], cast[0])
    assert torch.equal(plain[1], cast[1])


@pytest.mark.parametrize(("width", "height"), [(64, 64), (300, 200), (20, 31), (500, 90)])
def test_crops_are_distributed_as_torchvisions(width, height):
    count = 3000
    draws = draw_views(ViewRecipe(), sizes(count, width, height), 32, seeded(7))
    scale = torch.tensor([width, height, width, height])
    left, top, right, bottom = (draws.box_B4 * scale).unbind(1)
    image = torch.empty(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(11)
        params = [
            v1.RandomResizedCrop.get_params(image, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(count)
        ]
    their_top, their_left, their_high, their_wide = torch.tensor(params).double().unbind(1)
    wide, high = right - left, bottom - top
    assert torch.allclose(wide, wide.round())
    assert torch.allclose(left, left.round())
    assert left.min() >= 0
    assert (right <= width + 1e-9).all()
    for ours, theirs in (
        (wide * high, their_wide * their_high),
        (wide / high, their_wide / their_high),
        (left, their_left),
        (top, their_top),
    ):
        # Rounded: the boxes are whole pixels, and shares of the picture are not quite.
        assert ks_2samp(ours.numpy().round(6), theirs.numpy().round(6)).pvalue > 1e-3


@pytest.mark.parametrize(("width", "height"), [(1000, 20), (20, 1000)])
def test_no_box_fits_gives_the_central_crop(width, height):
    box = draw_views(ViewRecipe(area=(1.0, 1.0)), sizes(4, width, height), 32, seeded()).box_B4
    scale = torch.tensor([width, height, width, height])
    assert torch.equal((box[0] * scale).round(), (box[3] * scale).round())
    left, top, right, bottom = (box[0] * scale).round().tolist()
    short, long = (bottom - top, right - left) if width > height else (right - left, bottom - top)
    assert (short, long) == (20, 27)
    assert abs((left + right) / 2 - width / 2) <= 1
    assert abs((top + bottom) / 2 - height / 2) <= 1


def test_frequencies_and_ranges_of_the_draws():
    count = 20_000
    recipe = ViewRecipe()
    draws = draw_views(recipe, sizes(count), 112, seeded(5))
    for share, p in (
        (draws.flip_B, 0.5),
        (draws.jitter_B, 0.8),
        (draws.grey_B, 0.2),
        (draws.sigma_B > 0, 0.5),
    ):
        assert abs(share.float().mean() - p) < 4 * math.sqrt(p * (1 - p) / count)
    for column, (low, high) in enumerate([(0.6, 1.4)] * 3 + [(-0.1, 0.1)]):
        drawn = draws.factor_B4[:, column].numpy()
        assert kstest(drawn, "uniform", (low, high - low)).pvalue > 1e-3
    sigma = draws.sigma_B[draws.sigma_B > 0].numpy()
    assert kstest(sigma, "uniform", (0.05, 0.95)).pvalue > 1e-3
    orders = (draws.order_B4 * torch.tensor([64, 16, 4, 1])).sum(1).unique(return_counts=True)[1]
    assert len(orders) == 24
    assert chisquare(orders.numpy()).pvalue > 1e-3


def test_pixels_have_the_statistics_of_torchvisions_pipeline():
    """MoCo v2's own per-image pipeline on Pillow images, against ours on the same pictures."""
    count, size = 600, 32
    images = [picture(48, 40, seed) for seed in range(6)]
    normalise = v1.Normalize(IMAGENET_MEAN, IMAGENET_STD)

    def pillow_blur(image):
        sigma = float(torch.empty(1).uniform_(0.3, 2.0))
        return image.filter(ImageFilter.GaussianBlur(sigma))

    theirs = v1.Compose(
        [
            v1.RandomResizedCrop(size, (0.2, 1.0)),
            v1.RandomApply([v1.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            v1.RandomGrayscale(0.2),
            v1.RandomApply([pillow_blur], 0.5),
            v1.RandomHorizontalFlip(),
            v1.ToTensor(),
            normalise,
        ]
    )
    recipe = ViewRecipe(sigma=(0.3, 2.0), sigma_at=size)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        reference = torch.stack([theirs(images[i % 6]) for i in range(count)])
    batch = torch.stack([frame_of(images[i % 6], frame_size(size)) for i in range(count)])
    ours = apply_views(batch, draw_views(recipe, sizes(count, 48, 40), size, seeded(4)), size)
    edge = torch.tensor([-1.0, 1.0]).expand(3, 1, 1, 2)
    for statistic in (
        lambda x: x.mean((2, 3)),
        lambda x: x.std((2, 3)),
        lambda x: torch.nn.functional.conv2d(x, edge, groups=3).abs().mean((2, 3)),
        lambda x: x.amax(1).sub(x.amin(1)).mean((1, 2))[:, None],
    ):
        a, b = statistic(ours), statistic(reference)
        error = ((a.var(0) + b.var(0)) / count).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() < 4 * error + 0.02 * b.mean(0).abs()).all()
        assert ((a.std(0) / b.std(0)).log().abs() < 0.2).all()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", [32, 64])
def test_crop_and_resize_equal_pillows(size, flip):
    """Boxes of whole frame pixels, smaller and larger than the view."""
    frame = 74
    boxes = [(0, 0, 74, 74), (3, 10, 70, 61), (20, 5, 40, 74), (1, 1, 11, 13), (42, 42, 74, 74)]
    batch = frames(len(boxes), frame)
    draws = whole(
        len(boxes),
        box_B4=torch.tensor(boxes, dtype=torch.float64) / frame,
        flip_B=torch.full((len(boxes),), flip),
    )
    ours = pixels(apply_views(batch, draws, size)) * 255
    for view, frame_3FF, (left, top, right, bottom) in zip(ours, batch, boxes):
        image = tvf.to_pil_image(frame_3FF)
        theirs = tvf.resized_crop(image, top, left, bottom - top, right - left, [size, size])
        theirs = tvf.hflip(theirs) if flip else theirs
        assert (view - tvf.pil_to_tensor(theirs)).abs().max() < 1.5


def test_resampling_reads_pixels_of_the_box_only():
    box = torch.tensor([[3.3, 7.9, 9.6, 8.4]])
    across, down = resampling_matrices(spans(box, 12, 5, inside=True))[0]
    for weights, pixels_read in ((across, range(3, 10)), (down, range(7, 9))):
        assert torch.allclose(weights.sum(1), torch.ones(5))
        assert weights.sum(0).nonzero()[:, 0].tolist() == list(pixels_read)
    mirrored = resampling_matrices(spans(box[:, [2, 1, 0, 3]], 12, 5, inside=True))[0]
    assert torch.allclose(mirrored[0], across.flip(0), atol=1e-6)
    assert torch.equal(mirrored[1], down)
    beyond = resampling_matrices(spans(box, 12, 5, inside=False))[0, 1]
    assert beyond.sum(0).nonzero()[:, 0].tolist() == [7, 8]
    assert not torch.allclose(beyond, down)


def test_colour_operations_equal_torchvisions_in_every_order():
    orders = torch.cartesian_prod(*[torch.arange(4)] * 4)
    orders = orders[[len(set(row.tolist())) == 4 for row in orders]].repeat(3, 1)
    count = len(orders)
    generator = seeded(9)
    factors = torch.rand(count, 4, generator=generator) * torch.tensor([2.0, 2, 2, 1])
    factors -= torch.tensor([0.0, 0, 0, 0.5])
    batch = frames(4, 24).repeat(18, 1, 1, 1)
    draws = whole(count, jitter_B=torch.ones(count).bool(), factor_B4=factors, order_B4=orders)
    ours = pixels(apply_views(batch, draws, 24))
    operations = (
        tvf.adjust_brightness,
        tvf.adjust_contrast,
        tvf.adjust_saturation,
        tvf.adjust_hue,
    )
    for view, frame_3FF, order, factor in zip(ours, batch, orders, factors):
        theirs = frame_3FF / 255
        for operation in order.tolist():
            theirs = operations[operation](theirs, float(factor[operation]))
        assert (view - theirs).abs().max() < 1e-4


@pytest.mark.parametrize("hue", [-0.5, -0.3, -1 / 6, -0.1, 0.0, 0.04, 0.1, 0.25, 1 / 3, 0.5])
def test_hue_equals_torchvisions_on_every_colour(hue):
    levels = torch.arange(0, 256, 15, dtype=torch.uint8)
    colours = torch.cartesian_prod(levels, levels, levels)[: 76 * 64].T.reshape(3, 76, 64)
    frame = torch.cat([colours, colours.flip(0)], 1)[:, :64, :64].contiguous()
    draws = whole(1, jitter_B=torch.ones(1).bool(), factor_B4=torch.tensor([[1, 1, 1, hue]]))
    ours = pixels(apply_views(frame[None], draws, 64))[0]
    assert (ours - tvf.adjust_hue(frame / 255, hue)).abs().max() < 2e-5


def test_grey_and_blur_and_flip_act_on_their_images_only():
    batch = frames(4, 32)
    draws = whole(
        4,
        grey_B=torch.tensor([True, False, False, True]),
        sigma_B=torch.tensor([0.0, 0.0, 1.5, 1.5]),
        flip_B=torch.tensor([False, True, False, False]),
    )
    ours = pixels(apply_views(batch, draws, 32))
    original = batch / 255
    grey = tvf.rgb_to_grayscale(original, 3)

    def blurred(image):
        image = gaussian_filter1d(image.numpy(), 1.5, 1, mode="nearest", truncate=6)
        return torch.from_numpy(gaussian_filter1d(image, 1.5, 2, mode="nearest", truncate=6))

    expected = [grey[0], original[1].flip(2), blurred(original[2]), blurred(grey[3])]
    assert (ours - torch.stack(expected)).abs().max() < 1e-3


@pytest.mark.parametrize("sigma", [0.3, 0.7, 1.3, 2.0])
def test_blur_is_near_pillows(sigma):
    batch = frames(3, 64)
    ours = pixels(apply_views(batch, whole(3, sigma_B=torch.full((3,), sigma)), 64)) * 255
    for view, frame_3FF in zip(ours, batch):
        image = tvf.to_pil_image(frame_3FF)
        theirs = tvf.pil_to_tensor(image.filter(ImageFilter.GaussianBlur(sigma))).float()
        change = (theirs - frame_3FF).abs().mean()
        assert (view - theirs).abs().mean() < 0.6 + 0.15 * change
        assert 0.8 * change - 0.3 < (view - frame_3FF).abs().mean() < 1.2 * change + 0.3


def test_blur_left_out_for_being_small_would_not_have_shown():
    batch = frames(2, 32)
    sigma = torch.full((2,), module.SMALLEST_SIGMA)
    seen = apply_views(batch, whole(2, sigma_B=sigma), 32)
    left_out = apply_views(batch, whole(2, sigma_B=sigma * 0.999), 32)
    assert 0 < (pixels(seen) - pixels(left_out)).abs().max() * 255 < 0.5


def test_blur_shrinks_with_the_image():
    def largest(recipe, size):
        return float(draw_views(recipe, sizes(4000), size, seeded()).sigma_B.max())

    assert largest(ViewRecipe(), 224) == pytest.approx(2.0, abs=0.01)
    assert largest(ViewRecipe(), 64) == pytest.approx(2.0 * 64 / 224, abs=0.01)
    assert largest(ViewRecipe(sigma_at=64), 64) == pytest.approx(2.0, abs=0.01)


def test_codas_recipe_is_a_random_window_of_the_squashed_picture():
    recipe = ViewRecipe(resized_crop=False, jitter_p=0, grey_p=0, blur_p=0)
    batch = frames(1, 36).repeat(400, 1, 1, 1)
    draws = draw_views(recipe, sizes(400, 300, 200), 32, seeded())
    ours = (pixels(apply_views(batch, draws, 32)) * 255).round().to(torch.uint8)
    seen = set()
    for view, flip, box in zip(ours, draws.flip_B, draws.box_B4):
        left, top = (box[:2] * 36).round().long().tolist()
        window = batch[0, :, top : top + 32, left : left + 32]
        assert torch.equal(view, window.flip(2) if flip else window)
        seen.add((left, top))
    assert len(seen) == 25


def test_evaluation_view_of_square_pictures_is_the_frames_own_pixels():
    batch = frames(3, 36)
    view = evaluation_view(batch, torch.tensor([[80, 80], [500, 500], [36, 36]]), 32)
    assert torch.equal((pixels(view) * 255).round(), batch[:, :, 2:34, 2:34].float())
    mixed = evaluation_view(batch, torch.tensor([[80, 80], [500, 500], [36, 50]]), 32)
    assert torch.allclose(mixed[:2], view[:2], atol=1e-5)
    assert not torch.allclose(mixed[2], view[2], atol=1e-2)


@pytest.mark.parametrize(("width", "height"), [(256, 256), (300, 200), (150, 400), (48, 61)])
def test_evaluation_view_is_near_resize_and_central_crop_of_the_original(width, height):
    size = 64
    image = picture(width, height, 3)
    theirs = tvf.center_crop(tvf.resize(image, [frame_size(size)]), [size, size])
    frame = frame_of(image, frame_size(size))[None]
    ours = pixels(evaluation_view(frame, torch.tensor([[width, height]]), size))[0]
    difference = (ours * 255 - tvf.pil_to_tensor(theirs)).abs()
    assert difference.mean() < 3.5
    shifted = (ours * 255 - tvf.pil_to_tensor(theirs).roll(1, 2)).abs()
    assert difference[:, :, 1:-1].mean() < 0.7 * shifted[:, :, 1:-1].mean()


def crops_from_frame_and_original(area, frame, size=64, count=40):
    """The same boxes of a 300 x 200 photograph, cut from its frame and from the original."""
    photo = Image.fromarray(load_sample_image("china.jpg"))
    photo = photo.resize((300, 200), Image.Resampling.LANCZOS)
    recipe = replace(PLAIN, area=(area, area), ratio=(3 / 4, 4 / 3))
    draws = draw_views(recipe, sizes(count, 300, 200), size, seeded())
    batch = frame_of(photo, frame).expand(count, -1, -1, -1)
    from_original = []
    for box in draws.box_B4:
        left, top, right, bottom = (box * torch.tensor([300, 200] * 2)).round().int().tolist()
        crop = tvf.resized_crop(photo, top, left, bottom - top, right - left, [size, size])
        from_original.append(tvf.pil_to_tensor(crop).float())
    return pixels(apply_views(batch, draws, size)) * 255, torch.stack(from_original)


def test_a_crop_from_the_frame_is_the_crop_from_the_original_blurred():
    """What docs/augmentation.md says of the frame: a blur of half a pixel to one, no shift."""
    differences = []
    for area, sigma in ((1.0, 0.5), (0.5, 0.6), (0.2, 1.0)):
        ours, theirs = crops_from_frame_and_original(area, frame_size(64))
        blurred = gaussian_filter1d(theirs.numpy(), sigma, 2, mode="nearest")
        blurred = torch.from_numpy(gaussian_filter1d(blurred, sigma, 3, mode="nearest"))
        differences.append(float((ours - theirs).abs().mean()))
        assert (ours - blurred).abs().mean() < 0.6 * differences[-1]
        assert (ours - blurred).abs().mean() < 2
        assert (ours - theirs).mean().abs() < 0.5
    assert differences == sorted(differences)
    assert differences[-1] < 8
    larger = [crops_from_frame_and_original(0.2, side) for side in (148, 222)]
    closer = [float((ours - theirs).abs().mean()) for ours, theirs in larger]
    assert closer[1] < closer[0] < 0.6 * differences[-1]


def test_wrong_input_is_refused():
    draws = whole(2)
    with pytest.raises(ValueError, match="uint8"):
        apply_views(torch.rand(2, 3, 36, 36), draws, 32)
    with pytest.raises(ValueError, match="uint8"):
        evaluation_view(torch.zeros(2, 3, 36, 30, dtype=torch.uint8), sizes(2), 32)
    with pytest.raises(ValueError, match="3 frames"):
        apply_views(frames(3, 36), draws, 32)
    with pytest.raises(ValueError, match="jitter_p"):
        ViewRecipe(jitter_p=1.2)
    with pytest.raises(ValueError, match="area"):
        ViewRecipe(area=(0.5, 0.2))
    with pytest.raises(ValueError, match="hue"):
        ViewRecipe(hue=0.7)
