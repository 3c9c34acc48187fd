"""Every image is decoded once, whatever its format, and broken ones are named."""

import errno
import io
import multiprocessing
import pickle
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from image_trees import picture, write_picture, write_tree
from PIL import Image, ImageOps

from harness.datasets import frame_store
from harness.datasets.decode import decode_frame
from harness.datasets.frame_store import open_frames, pair_frames, prepare
from harness.datasets.registry import open_dataset
from harness.errors import UsageError

F = 24


def encoded(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def frame_of(image):
    """The obvious way: the whole image, resized at full resolution."""
    squashed = image.convert("RGB").resize((F, F), Image.Resampling.BILINEAR)
    return np.asarray(squashed).transpose(2, 0, 1).astype(int)


def difference(content, image):
    frame, size = decode_frame(content, F)
    assert frame.shape == (3, F, F)
    assert frame.dtype == np.uint8
    assert size == image.size
    return np.abs(frame.astype(int) - frame_of(image))


# Formats


def test_plain_images_are_squashed_whole():
    image = picture("wide", 60, 31)
    assert difference(encoded(image, "PNG"), image).max() <= 1
    grey = image.convert("L")
    assert difference(encoded(grey, "PNG"), grey).max() <= 1
    assert difference(encoded(grey.convert("1"), "PNG"), grey.convert("1")).max() <= 1
    assert difference(encoded(image, "WEBP", lossless=True), image).max() <= 1


def test_a_large_jpeg_reduced_by_its_decoder_looks_the_same():
    image = picture("large", 640, 401)
    content = encoded(image, "JPEG", quality=95)
    differences = difference(content, Image.open(io.BytesIO(content)))
    assert differences.max() <= 6
    assert differences.mean() < 1


def test_exif_rotation_is_carried_out():
    image = picture("upright", 60, 31)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        content = encoded(image, "JPEG", quality=95, exif=exif)
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
        assert difference(content, upright).max() <= 2, orientation
    content = encoded(image, "TIFF", exif=exif)
    frame, size = decode_frame(content, F)
    assert size == (31, 60)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert np.abs(frame - frame_of(upright)).max() <= 1


def test_cmyk_jpeg():
    cmyk = picture("print").convert("CMYK")
    content = encoded(cmyk, "JPEG", quality=95)
    assert Image.open(io.BytesIO(content)).mode == "CMYK"
    assert difference(content, Image.open(io.BytesIO(content))).max() <= 2


def test_transparency_is_put_on_white():
    image = picture("see through").convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    white = Image.new("RGBA", image.size, "white")
    expected = Image.alpha_composite(white, image).convert("RGB")
    assert difference(encoded(image, "PNG"), expected).max() <= 1

    palette = picture("few colours").quantize(16)
    content = encoded(palette, "PNG", transparency=palette.getpixel((0, 0)))
    frame, _ = decode_frame(content, palette.width)
    opaque = Image.open(io.BytesIO(content))
    assert opaque.mode == "P"
    seen = opaque.convert("RGBA")
    expected = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    assert difference(content, expected.convert("RGB")).max() <= 1
    assert (frame[:, 0, 0] == 255).all()

    keyed = Image.new("RGB", (F, F), (10, 20, 30))
    frame, _ = decode_frame(encoded(keyed, "PNG", transparency=(10, 20, 30)), F)
    assert (frame == 255).all()


def test_first_picture_of_an_animation():
    pictures = [picture(str(i)).quantize(64) for i in range(3)]
    content = encoded(pictures[0], "GIF", save_all=True, append_images=pictures[1:])
    assert Image.open(io.BytesIO(content)).n_frames == 3
    assert difference(content, pictures[0]).max() <= 1


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled(format):
    ramp = np.linspace(0, 65535, F * F).round().astype(np.uint16).reshape(F, F)
    frame, _ = decode_frame(encoded(Image.fromarray(ramp), format), F)
    assert np.abs(frame - ramp / 257).max() <= 0.5
    assert (frame[0] == frame[2]).all()


def test_pixels_without_a_white_are_refused():
    with pytest.raises(ValueError, match="no defined white"):
        decode_frame(encoded(Image.new("F", (4, 4), 0.5), "TIFF"), F)
    with pytest.raises(ValueError, match="no defined white"):
        decode_frame(encoded(Image.new("I", (4, 4), 1 << 20), "TIFF"), F)


def test_a_crop_of_the_frame_is_nearly_the_crop_of_the_original():
    """The evaluation crop (short side to 8/7 of S, central S x S) from the frame and the file."""
    S = 56
    image = picture("street", 500, 375)
    resized = image.resize((85, 64), Image.Resampling.BILINEAR)
    left, top = 14, 4
    from_file = np.asarray(resized.crop((left, top, left + S, top + S))).astype(int)

    errors = {}
    for side in (64, 128):
        frame, _ = decode_frame(encoded(image, "PNG"), side)
        across, down = side / resized.width, side / resized.height
        box = (left * across, top * down, (left + S) * across, (top + S) * down)
        cut = Image.fromarray(frame.transpose(1, 2, 0)).resize(
            (S, S), Image.Resampling.BILINEAR, box=box
        )
        errors[side] = np.abs(np.asarray(cut).astype(int) - from_file).mean()
    assert errors[64] < 2.5  # of 255
    assert errors[128] < errors[64]


# The store


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    return write_tree(tmp_path / "root", ["a/ant", "a/bee", "b/ant", "b/bee"], images=3)


class Count:
    """A progress callback that remembers the images decoded per domain."""

    def __init__(self):
        self.decoded = {}

    def __call__(self, domain, done, total):
        assert 1 <= done <= total
        self.decoded[domain] = self.decoded.get(domain, 0) + 1


def test_frames_are_those_of_the_files_in_the_order_of_the_index(root, cache):
    write_picture(root / "a/ant/wide.png", width=90, height=17)
    index = open_dataset("folder", root, cache)
    assert prepare(index, ["a", "b"], F, cache) == index
    frames = open_frames(index, "a", F, cache)
    assert frames.frames_N3FF.shape == (7, 3, F, F)
    assert frames.frames_N3FF.dtype == torch.uint8
    assert frames.size_N2.dtype == torch.float32
    assert len(frames) == 7
    for position, path in enumerate(index.domain("a").paths):
        expected, size = decode_frame((root / path).read_bytes(), F)
        assert (frames.frames_N3FF[position].numpy() == expected).all()
        assert tuple(frames.size_N2[position].tolist()) == size


def test_an_unchanged_domain_is_never_decoded_again(root, cache):
    first = Count()
    prepare(open_dataset("folder", root, cache), ["a", "b"], F, cache, progress=first)
    assert first.decoded == {"a": 6, "b": 6}

    write_picture(root / "b/ant/new.png")
    second = Count()
    index = open_dataset("folder", root, cache)
    prepare(index, ["a", "b"], F, cache, progress=second)
    assert second.decoded == {"b": 7}

    third = Count()
    moved = shutil.move(root, root.with_name("moved"))
    (Path(moved) / "a/ant").rename(Path(moved) / "a/wasp")
    index = open_dataset("folder", Path(moved), cache)
    prepare(index, ["a", "b"], F, cache, progress=third)
    open_frames(pickle.loads(pickle.dumps(index)), "a", F, cache, progress=third)
    assert third.decoded == {}

    prepare(index, ["a"], 2 * F, cache, progress=third)
    assert third.decoded == {"a": 6}


def test_a_machine_without_the_store_builds_it_on_opening(root, cache, tmp_path):
    index = open_dataset("folder", root, cache)
    count = Count()
    there = open_frames(index, "a", F, tmp_path / "other node", progress=count)
    assert count.decoded == {"a": 6}
    assert torch.equal(there.frames_N3FF, open_frames(index, "a", F, cache).frames_N3FF)


def _build(index, cache, start, counts):
    start.wait()
    count = Count()
    prepare(index, ["a"], F, cache, progress=count)
    frames = open_frames(index, "a", F, cache)
    checksum = zlib.crc32(frames.frames_N3FF.numpy().tobytes())
    counts.put((count.decoded.get("a", 0), checksum))


def test_two_processes_at_once_decode_once(root, cache):
    write_tree(root, ["a/ant"], images=60)
    index = open_dataset("folder", root, cache)
    context = multiprocessing.get_context("fork")  # importing torch twice would take 10 s
    start, counts = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_build, args=(index, cache, start, counts)) for _ in range(2)]
    for worker in workers:
        worker.start()
    seen = [counts.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(decoded for decoded, _ in seen) == [0, len(index.domain("a"))]
    assert seen[0][1] == seen[1][1]


def test_leftovers_of_a_killed_build_do_not_matter(root, cache):
    index = open_dataset("folder", root, cache)
    expected = open_frames(index, "a", F, cache).frames_N3FF.clone()
    (store,) = (path for path in (cache / "frames").iterdir() if path.is_dir())
    half = store.with_name(store.name + ".partial")
    store.rename(half)
    (half / "frames_N3FF.uint8").write_bytes(b"half a frame")
    assert torch.equal(open_frames(index, "a", F, cache).frames_N3FF, expected)
    assert not half.exists()


def test_a_damaged_store_is_named(root, cache):
    index = open_dataset("folder", root, cache)
    open_frames(index, "a", F, cache)
    (file,) = (cache / "frames").glob("*/frames_N3FF.uint8")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UsageError, match=r"damaged: delete that folder"):
        open_frames(index, "a", F, cache)


def test_pair_frames_keep_what_the_scenario_keeps(root, cache):
    index = open_dataset("folder", root, cache)
    whole = pair_frames(index, ("a", "b"), "close", 2024, F, cache)
    assert [len(frames) for frames in whole] == [6, 6]
    query, gallery = pair_frames(index, ("b", "a"), "partial", 2024, F, cache)
    assert (query.domain, len(query), len(gallery)) == ("b", 3, 6)
    twins = [
        (whole[1].frames_N3FF == frame).flatten(1).all(1).nonzero().item()
        for frame in query.frames_N3FF
    ]
    assert torch.equal(whole[1].size_N2[twins], query.size_N2)
    assert len({index.domain("b").paths[twin].split("/")[1] for twin in twins}) == 1
    query, gallery = pair_frames(index, ("b", "a"), "open", 2024, F, cache)
    assert (len(query), len(gallery)) == (6, 3)


# Broken files and full disks


@pytest.fixture
def broken(root):
    (root / "a/ant/empty.png").write_bytes(b"")
    whole = encoded(picture("whole", 200, 150), "JPEG", quality=95)
    (root / "a/bee/half.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "b/bee/text.png").write_text("I am no image")
    return root


def test_all_broken_images_are_listed_and_stop_the_run(broken, cache):
    index = open_dataset("folder", broken, cache)
    with pytest.raises(UsageError) as caught:
        prepare(index, ["a", "b"], F, cache)
    text = str(caught.value)
    assert text.startswith("3 images cannot be read")
    assert "--skip-unreadable" in text
    assert "a/ant/empty.png: no image of a known format" in text
    assert "a/bee/half.jpg: image file is truncated" in text
    assert "b/bee/text.png: no image" in text
    with pytest.raises(UsageError, match=r"half\.jpg"):
        open_frames(index, "a", F, cache)


def test_broken_images_are_left_out_on_demand_and_nothing_is_decoded_twice(broken, cache):
    index = open_dataset("folder", broken, cache)
    count = Count()
    with pytest.raises(UsageError):
        prepare(index, ["a", "b"], F, cache, progress=count)
    assert count.decoded == {"a": 8, "b": 7}
    again = Count()
    smaller = prepare(index, ["a", "b"], F, cache, skip_unreadable=True, progress=again)
    frames = open_frames(smaller, "a", F, cache, progress=again)
    assert again.decoded == {}
    assert len(frames) == len(smaller.domain("a")) == 6
    assert not {"a/ant/empty.png", "a/bee/half.jpg"} & set(smaller.domain("a").paths)
    for position, path in enumerate(smaller.domain("a").paths):
        expected, _ = decode_frame((broken / path).read_bytes(), F)
        assert (frames.frames_N3FF[position].numpy() == expected).all()
        class_name = smaller.classes[smaller.domain("a").class_id_N[position]]
        assert class_name == path.split("/")[1]
    assert sum("was skipped" in line for line in smaller.warnings) == 3
    only_a = prepare(index, ["a"], F, cache, skip_unreadable=True)
    assert only_a.fingerprint == smaller.fingerprint


def test_a_long_list_is_cut(root, cache):
    for number in range(25):
        (root / f"a/ant/{number:02}bad.png").write_bytes(b"no" * (number + 1))
    index = open_dataset("folder", root, cache)
    with pytest.raises(UsageError) as caught:
        prepare(index, ["a"], F, cache)
    lines = str(caught.value).splitlines()
    assert len(lines) == 22
    assert lines[-1].strip() == "and 5 more"


def test_a_domain_of_broken_images_only_is_refused(root, cache):
    for file in (root / "a").glob("*/*.png"):
        file.write_bytes(b"broken")
    index = open_dataset("folder", root, cache)
    with pytest.raises(UsageError, match="No image of the domain 'a' can be read"):
        prepare(index, ["a", "b"], F, cache, skip_unreadable=True)


def test_a_decompression_bomb_is_unreadable(root, cache, monkeypatch):
    write_picture(root / "a/ant/bomb.png", width=100, height=50)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    index = open_dataset("folder", root, cache)
    with pytest.raises(UsageError, match=r"(?s)1 image .*bomb.png: .*decompression bomb"):
        prepare(index, ["a"], F, cache)


def test_a_file_that_changed_since_it_was_indexed(root, cache):
    index = open_dataset("folder", root, cache)
    write_picture(root / "a/ant/0.png", width=77)
    with pytest.raises(UsageError, match=r"a/ant/0.png changed after it was indexed"):
        prepare(index, ["a"], F, cache, skip_unreadable=True)


def test_too_small_a_disk_is_noticed_before_decoding(root, cache, monkeypatch):
    index = open_dataset("folder", root, cache)
    usage = shutil.disk_usage(root)._replace(free=70 << 20)
    monkeypatch.setattr(frame_store.shutil, "disk_usage", lambda path: usage)
    prepare(index, ["a"], F, cache)
    count = Count()
    with pytest.raises(UsageError, match=r"0\.07 GB free: free some space.*--cache-dir"):
        prepare(index, ["a", "b"], 2000, cache, progress=count)
    assert count.decoded == {}


def test_a_disk_that_fills_up_while_decoding(root, cache, monkeypatch):
    index = open_dataset("folder", root, cache)

    def full(path, *arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(frame_store.os, "fsync", full)
    with pytest.raises(UsageError, match=r"disk of the cache folder .* is full"):
        prepare(index, ["a"], F, cache)
    assert not [path for path in (cache / "frames").iterdir() if path.is_dir()]
