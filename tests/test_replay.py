"""A tiny real training of coloured squares, replayed from its file."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from harness.command_line import DONE, TRIAL_FAILED
from harness.commands.replay import find_trial_file
from harness.errors import UsageError
from harness.train import main

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


def write_squares(root, per_class=4):
    """Domains plain and framed; squares of three colours, each image a shade of its own."""
    for domain, border in (("plain", 0), ("framed", 6)):
        for label, (name, colour) in enumerate(COLOURS.items()):
            for number in range(per_class):
                pixels = np.full((24, 24, 3), 250 if border else 5, dtype=np.uint8)
                shade = np.asarray(colour) + 7 * number + label
                pixels[border : 24 - border, border : 24 - border] = shade.clip(0, 255)
                path = root / domain / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return root


def flags(folder, *more):
    return [
        *("--data-root", str(folder / "squares"), "--out", str(folder / "results")),
        *("--cache-dir", str(folder / "cache"), *more),
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a finished trial and its id; tests that change files bring them back."""
    folder = tmp_path_factory.mktemp("replay")
    write_squares(folder / "squares")
    settings = ("--backbone", "test_resnet", "--image-size", "32", "--epochs", "2")
    chosen = ("--dataset", "folder", "--set", "K=3", "--batch-size", "8")
    assert main(flags(folder, *settings, *chosen)) == DONE
    path = next((folder / "results").glob("*/trials/*/*.parquet"))
    return folder, path


def test_a_trial_is_replayed_to_the_last_figure_and_nothing_is_written(trained, capsys):
    folder, path = trained
    before = {p: p.stat().st_mtime_ns for p in (folder / "results").rglob("*")}
    assert main(flags(folder, "--replay", path.stem)) == DONE
    said = capsys.readouterr().out
    assert "Identical: 3 epochs" in said
    assert {p: p.stat().st_mtime_ns for p in (folder / "results").rglob("*")} == before


def tampered(path, epoch, column, value):
    rows = pq.ParquetFile(path).read()
    held = rows.to_pylist()
    next(row for row in held if row["epoch"] == epoch)[column] = value
    pq.write_table(pa.Table.from_pylist(held, schema=rows.schema), path)


@pytest.mark.parametrize(
    ("epoch", "column", "named"),
    [(1, "P@5", "P@5"), (2, "loss.total", "loss.total"), (0, "validator.mutual_nn", "mutual_nn")],
)
def test_the_first_epoch_that_differs_is_named(trained, capsys, epoch, column, named):
    folder, path = trained
    original = path.read_bytes()
    tampered(path, epoch, column, 12.345)
    if epoch < 2:
        tampered(path, 2, "P@1", 0.125)
    try:
        assert main(flags(folder, "--replay", path.stem)) == TRIAL_FAILED
    finally:
        path.write_bytes(original)
    said = capsys.readouterr().out
    assert f"Epoch {epoch} is the first that differs." in said
    assert f"{named}" in said
    assert "12.345 then" in said


def test_other_versions_are_named_where_figures_differ(trained, capsys):
    folder, path = trained
    original = path.read_bytes()
    rows = pq.ParquetFile(path).read()
    held = rows.to_pylist()
    for row in held:
        row["versions"] = json.dumps(json.loads(row["versions"]) | {"torch": "1.0"})
        row["P@1"] = -1.0
    pq.write_table(pa.Table.from_pylist(held, schema=rows.schema), path)
    try:
        assert main(flags(folder, "--replay", path.stem)) == TRIAL_FAILED
    finally:
        path.write_bytes(original)
    said = capsys.readouterr().out
    assert "Epoch 0 is the first" in said
    assert f"torch 1.0 then, {torch.__version__.split('+')[0]}" in said
    assert "numpy" not in said


def test_a_changed_image_is_refused(trained):
    folder, path = trained
    image = folder / "squares" / "plain" / "red" / "0.png"
    original = image.read_bytes()
    Image.fromarray(np.zeros((24, 24, 3), dtype=np.uint8)).save(image)
    try:
        with pytest.raises(UsageError, match="not those of the trial"):
            main(flags(folder, "--replay", path.stem))
    finally:
        image.write_bytes(original)


def test_an_unknown_id_names_the_nearest(trained, tmp_path):
    folder, path = trained
    with pytest.raises(UsageError, match=f"Did you mean '{path.stem}'"):
        main(flags(folder, "--replay", path.stem[:-1] + "7"))
    with pytest.raises(UsageError, match="no trials under"):
        find_trial_file(tmp_path, "x")


def test_a_flag_that_the_row_decides_is_refused(trained):
    folder, path = trained
    with pytest.raises(UsageError, match="--epochs cannot go with --replay"):
        main(flags(folder, "--replay", path.stem, "--epochs", "9"))
    with pytest.raises(UsageError, match="belongs to the data set"):
        main(flags(folder, "--replay", path.stem, "--dataset", "pacs"))
