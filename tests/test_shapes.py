"""The built-in data: the same pictures everywhere, four styles, written once and as a whole."""

import colorsys
import hashlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import minimum_filter

from harness.datasets import shapes
from harness.datasets.shapes import (
    CLASS_NAMES,
    DOMAIN_NAMES,
    SPEC,
    ShapesSettings,
    draw,
    generate,
    main,
)
from harness.datasets.shapes_drawing import NATURAL, VIVID, instance_generator
from harness.datasets.shapes_outlines import CLASSES
from harness.datasets.shapes_pose import pose
from harness.errors import UsageError

SMALL = ShapesSettings(images_per_class=2, image_size=16)


@pytest.fixture(scope="module")
def small_tree(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data") / "new" / "shapes", SMALL)


def pixels(domain, class_name="fish", instance=0, **settings):
    picture = draw(domain, class_name, instance, ShapesSettings(**settings))
    return np.asarray(picture)


def hue_distance(a, b):
    return abs((a - b + 0.5) % 1.0 - 0.5)


@pytest.mark.parametrize("domain", DOMAIN_NAMES)
def test_a_picture_is_a_pure_function_of_its_arguments(domain):
    first = pixels(domain)
    np.random.default_rng(1).random(5)
    assert np.array_equal(first, pixels(domain, images_per_class=7))
    assert not np.array_equal(first, pixels(domain, instance=1))
    assert not np.array_equal(first, pixels(domain, seed=1))


@pytest.mark.parametrize("size", [32, 128])
def test_every_class_can_be_drawn_in_every_domain(size):
    for domain in DOMAIN_NAMES:
        for class_name in CLASS_NAMES:
            picture = draw(domain, class_name, 0, ShapesSettings(image_size=size))
            assert (picture.mode, picture.size) == ("RGB", (size, size))
            assert np.asarray(picture).std() > 8


def test_the_same_instance_at_another_size_is_the_same_picture():
    small = pixels("clipart", "umbrella", image_size=32).astype(float)
    large = draw("clipart", "umbrella", 0, ShapesSettings(image_size=128)).reduce(4)
    assert np.abs(small - np.asarray(large)).mean() < 6


def test_domains_never_show_the_same_instance():
    outlines = [
        pose(CLASSES["star"], VIVID, instance_generator(0, domain, "star", 0), 64)[0].points_P2
        for domain in DOMAIN_NAMES
    ]
    for i, one in enumerate(outlines):
        for other in outlines[:i]:
            assert np.abs(one - other).max() > 1


def test_instances_vary_in_size_and_place():
    boxes = []
    for instance in range(30):
        rng = instance_generator(0, "clipart", "star", instance)
        points = pose(CLASSES["star"], VIVID, rng, 1)[0].points_P2
        assert points.min() >= 0
        assert points.max() <= 1
        boxes.append([*np.ptp(points, axis=0), *points.mean(axis=0)])
    assert (np.std(boxes, axis=0) > 0.05).all()


@pytest.mark.parametrize("colouring", [VIVID, NATURAL])
def test_hues_scatter_about_the_typical_one(colouring):
    deviations = []
    for instance in range(80):
        rng = instance_generator(0, "any", "star", instance)
        colour = pose(CLASSES["star"], colouring, rng, 64)[0].colour
        hue = colorsys.rgb_to_hsv(*(c / 255 for c in colour))[0]
        deviations.append((hue - CLASSES["star"].hue + 0.5) % 1.0 - 0.5)
    spread = colouring.hue_spread
    assert abs(np.mean(deviations)) < 0.4 * spread
    assert 0.6 * spread < np.std(deviations) < 1.2 * spread


@pytest.mark.parametrize("class_name", CLASS_NAMES)
def test_clipart_has_the_typical_hue_of_its_class(class_name):
    for instance in range(6):
        picture = draw("clipart", class_name, instance, ShapesSettings()).convert("HSV")
        hue, saturation, value = np.moveaxis(np.asarray(picture) / 255.0, 2, 0)
        vivid = hue[(saturation > 0.5) & (value > 0.72)]
        typical = CLASSES[class_name].hue
        near = hue_distance(vivid, typical) < 2 * VIVID.hue_spread + 0.02
        assert near.mean() > 0.6


def test_quickdraw_is_one_thin_black_line_on_white():
    for class_name in CLASS_NAMES:
        picture = pixels("quickdraw", class_name, image_size=128)
        assert (picture == picture[..., :1]).all()
        dark = picture[..., 0] < 128
        assert 0.01 < dark.mean() < 0.13
        assert (picture[..., 0] == 255).mean() > 0.75
        inside_a_blot = minimum_filter(dark, 7)
        assert inside_a_blot.sum() < 0.01 * dark.sum()


def test_sketch_is_grey_strokes_on_paper():
    for class_name in CLASS_NAMES:
        picture = pixels("sketch", class_name)
        assert (picture == picture[..., :1]).all()
        assert 200 < np.median(picture) < 252
        greys = np.unique(picture[..., 0])
        assert ((greys > 60) & (greys < 200)).sum() > 60


def test_clipart_is_flat_and_real_is_not():
    for class_name in CLASS_NAMES:
        flat, shaded = (
            np.unique(pixels(domain, class_name).reshape(-1, 3), axis=0, return_counts=True)[1]
            for domain in ("clipart", "real")
        )
        assert np.sort(flat)[-8:].sum() > 0.7 * flat.sum()
        assert np.sort(shaded)[-8:].sum() < 0.1 * shaded.sum()


def test_generate_writes_every_picture_of_every_class(small_tree):
    found = sorted(path.relative_to(small_tree).as_posix() for path in small_tree.rglob("*.png"))
    assert found == sorted(
        f"{domain}/{class_name}/{name}.png"
        for domain in SPEC.domains
        for class_name in SPEC.classes
        for name in ("000", "001")
    )
    assert len(CLASS_NAMES) >= 10
    with Image.open(small_tree / "real" / "cup" / "001.png") as written:
        assert np.array_equal(np.asarray(written), np.asarray(draw("real", "cup", 1, SMALL)))


def test_no_two_pictures_are_equal(tmp_path):
    root = generate(tmp_path / "shapes", ShapesSettings(images_per_class=4, image_size=32))
    digests = [
        hashlib.sha256(np.asarray(Image.open(path)).tobytes()).digest()
        for path in root.rglob("*.png")
    ]
    assert len(set(digests)) == len(digests) == len(DOMAIN_NAMES) * len(CLASS_NAMES) * 4


def test_a_small_data_set_is_a_prefix_of_a_larger_one(small_tree, tmp_path):
    large = generate(tmp_path / "large", ShapesSettings(images_per_class=3, image_size=16))
    for path in small_tree.rglob("*.png"):
        assert path.read_bytes() == (large / path.relative_to(small_tree)).read_bytes()


def test_a_second_call_rewrites_nothing(small_tree, monkeypatch):
    written = {path: path.stat().st_mtime_ns for path in small_tree.rglob("*")}
    monkeypatch.setattr(shapes, "draw_instance", lambda *_, **__: pytest.fail("drawn again"))
    assert generate(small_tree, SMALL) == small_tree
    assert {path: path.stat().st_mtime_ns for path in small_tree.rglob("*")} == written


def test_a_broken_off_build_leaves_no_tree_and_the_next_call_mends_it(tmp_path, monkeypatch):
    drawn = []

    def draw_until_killed(*arguments, **keywords):
        drawn.append(arguments)
        if len(drawn) > 20:
            raise KeyboardInterrupt
        return Image.new("RGB", (16, 16), "red")

    root = tmp_path / "shapes"
    with monkeypatch.context() as patch:
        patch.setattr(shapes, "draw_instance", draw_until_killed)
        with pytest.raises(KeyboardInterrupt):
            generate(root, SMALL)
    assert not root.exists()
    generate(root, SMALL)
    assert np.asarray(Image.open(root / "clipart" / "apple" / "000.png")).std() > 8
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["shapes"]


def test_two_callers_at_once_draw_one_tree(tmp_path, monkeypatch):
    drawn, plain = [], shapes.draw_instance

    def draw_counted(*arguments, **keywords):
        drawn.append(arguments)
        return plain(*arguments, **keywords)

    monkeypatch.setattr(shapes, "draw_instance", draw_counted)
    callers = [
        threading.Thread(target=generate, args=(tmp_path / "shapes", SMALL)) for _ in range(3)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(drawn) == len(list((tmp_path / "shapes").rglob("*.png")))


def test_a_tree_of_other_settings_is_refused_and_the_difference_named(small_tree, tmp_path):
    with pytest.raises(UsageError, match="seed 0 instead of 5"):
        generate(small_tree, ShapesSettings(seed=5, images_per_class=2, image_size=16))
    stamp = json.loads((small_tree / shapes.STAMP).read_text())
    (tmp_path / shapes.STAMP).write_text(json.dumps({**stamp, "drawing_version": 0}))
    with pytest.raises(UsageError, match="drawing_version 0 instead of"):
        generate(tmp_path, SMALL)


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(UsageError, match="holds other files"):
        generate(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(UsageError, match="is a file"):
        generate(tmp_path / "mine.txt", SMALL)
    with pytest.raises(UsageError, match="cannot be written"):
        generate(tmp_path / "mine.txt" / "below", SMALL)


def test_folder_names_tell_settings_apart():
    settings = [
        ShapesSettings(),
        ShapesSettings(seed=1),
        ShapesSettings(images_per_class=5),
        ShapesSettings(image_size=32),
    ]
    assert len({one.folder_name for one in settings}) == len(settings)


def test_bad_arguments_get_a_sentence():
    with pytest.raises(UsageError, match="Did you mean 'quickdraw'"):
        draw("quick_draw", "fish", 0, SMALL)
    with pytest.raises(UsageError, match="Did you mean 'umbrella'"):
        draw("real", "umbrela", 0, SMALL)
    with pytest.raises(UsageError, match="at least 1 image"):
        ShapesSettings(images_per_class=0)
    with pytest.raises(UsageError, match="16 to 1024"):
        ShapesSettings(image_size=8)


def test_the_declaration_fits_what_is_drawn():
    assert SPEC.domains == ("clipart", "quickdraw", "real", "sketch")
    assert SPEC.classes == CLASS_NAMES == tuple(sorted(CLASS_NAMES))
    assert {name for pair in SPEC.default_pairs for name in pair} <= set(SPEC.domains)
    assert SPEC.primary_metric == f"P@{SPEC.ks[0]}"
    assert max(SPEC.ks) <= ShapesSettings().images_per_class


def test_the_command_writes_trees_and_says_what_is_wrong(tmp_path, capsys):
    size = ["--images-per-class", "1", "--image-size", "16"]
    assert main(["--root", str(tmp_path / "tree"), *size]) == 0
    assert len(list((tmp_path / "tree").rglob("*.png"))) == len(DOMAIN_NAMES) * len(CLASS_NAMES)
    capsys.readouterr()
    assert main(["--root", str(tmp_path / "tree"), "--seed", "3", *size]) == 2
    assert main(["--contact-sheet", str(tmp_path / "absent" / "sheet.png"), *size]) == 2
    complaints = capsys.readouterr().err.splitlines()
    assert len(complaints) == 2
    assert all(line.startswith("error: ") for line in complaints)


def test_the_contact_sheet_in_docs_shows_what_is_drawn_today(tmp_path):
    """If this fails, raise DRAWING_VERSION and make the sheet anew (docs/shapes.md)."""
    sheet = tmp_path / "sheet.png"
    assert main(["--contact-sheet", str(sheet)]) == 0
    committed = Path(__file__).parents[1] / "docs" / "shapes.png"
    drawn, shown = (np.asarray(Image.open(path), dtype=float) for path in (sheet, committed))
    assert shown.shape == drawn.shape
    assert np.abs(shown - drawn).mean() < 0.5
