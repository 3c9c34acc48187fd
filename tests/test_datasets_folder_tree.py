"""Folder trees of all shapes are found, named and confirmed; bad ones get one sentence."""

import io
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from image_trees import picture, write_picture, write_tree
from rich.console import Console

from harness.datasets import registry
from harness.datasets.contract import DatasetSpec
from harness.datasets.decode import is_image_name
from harness.datasets.registry import (
    dataset_names,
    dataset_spec,
    open_dataset,
    register_dataset,
)
from harness.datasets.verify import verification_table, verify
from harness.errors import UsageError

OFFICE = ("Art", "Clipart", "Product", "Real_World")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def no_data_root(monkeypatch):
    monkeypatch.delenv("HARNESS_DATA_ROOT", raising=False)


def class_names(index, domain):
    found = index.domain(domain)
    return {
        path: index.classes[number]
        for path, number in zip(found.paths, found.class_id_N, strict=True)
    }


def test_a_folder_is_read_whatever_its_names(tmp_path, cache):
    root = write_tree(tmp_path / "my things", ["web shop/mug", "web shop/tea-pot", "Phone/mug"])
    write_tree(root, [".hidden/mug", "__MACOSX/mug", "Phone/.thumbs"])
    write_picture(root / "Phone/mug/UPPER.JPEG")
    (root / "ATTRIBUTION.md").write_text("who drew this")
    (root / "Phone/mug/notes.txt").write_text("no image")
    (root / "Phone/mug/._0.png").write_bytes(b"resource fork")

    index = open_dataset("folder", root, cache)

    assert index.name == "my things"
    assert [domain.name for domain in index.domains] == ["Phone", "web shop"]
    assert index.classes == ("mug", "tea-pot")
    assert class_names(index, "Phone") == {
        "Phone/mug/0.png": "mug",
        "Phone/mug/1.png": "mug",
        "Phone/mug/UPPER.JPEG": "mug",
    }
    assert set(class_names(index, "web shop").values()) == {"mug", "tea-pot"}


def test_class_ids_are_global_even_where_a_domain_lacks_a_class(tmp_path, cache):
    root = write_tree(tmp_path / "root", ["a/ant", "a/bee", "a/cat", "b/bee", "b/cat"])
    index = open_dataset("folder", root, cache)
    for domain in ("a", "b"):
        for path, class_name in class_names(index, domain).items():
            assert path.split("/")[1] == class_name
    assert index.warnings == ("1 of 3 classes are not in every domain: ant.",)


def test_images_are_ordered_by_content_not_by_class(tmp_path, cache):
    root = write_tree(tmp_path / "root", ["a/ant", "a/bee", "b/ant", "b/bee"], images=12)
    index = open_dataset("folder", root, cache)
    for domain in index.domains:
        assert list(domain.digests) == sorted(domain.digests)
        assert list(domain.paths) != sorted(domain.paths)
        changes = np.count_nonzero(np.diff(domain.class_id_N))
        assert changes > 3  # folder order would change the class once


def test_equal_files_are_ordered_by_path(tmp_path, cache):
    root = write_tree(tmp_path / "root", ["a/ant", "b/ant"])
    for name in ("z.png", "y.png"):
        shutil.copy(root / "a/ant/0.png", root / "a/ant" / name)
    paths = open_dataset("folder", root, cache).domain("a").paths
    twins = [path for path in paths if not path.endswith("1.png")]
    assert twins == ["a/ant/0.png", "a/ant/y.png", "a/ant/z.png"]


def test_fingerprint_follows_paths_and_content_not_the_place(tmp_path, cache):
    root = write_tree(tmp_path / "root", ["a/ant", "b/ant"])
    first = open_dataset("folder", root, cache).fingerprint
    copy = shutil.copytree(root, tmp_path / "elsewhere" / "root")
    assert open_dataset("folder", copy, cache).fingerprint == first
    (copy / "a/ant/0.png").rename(copy / "a/ant/5.png")
    renamed = open_dataset("folder", copy, cache).fingerprint
    assert renamed != first
    picture("another").save(copy / "a/ant/5.png")
    assert open_dataset("folder", copy, cache).fingerprint not in (first, renamed)


def test_unchanged_files_are_not_read_again(tmp_path, cache, monkeypatch):
    root = write_tree(tmp_path / "root", ["a/ant", "b/ant"])
    first = open_dataset("folder", root, cache)
    read, read_bytes = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or read_bytes(path))

    assert open_dataset("folder", root, cache).fingerprint == first.fingerprint
    assert read == []

    changed = root / "b/ant/1.png"
    stat = changed.stat()
    write_picture(changed, width=41)
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert open_dataset("folder", root, cache).fingerprint != first.fingerprint
    assert read == [changed]


def test_a_damaged_digest_file_is_made_anew(tmp_path, cache):
    root = write_tree(tmp_path / "root", ["a/ant", "b/ant"])
    first = open_dataset("folder", root, cache)
    (entries,) = (cache / "digests").glob("*.json")
    entries.write_text('{"files": {"a/ant')
    assert open_dataset("folder", root, cache).fingerprint == first.fingerprint


@pytest.mark.parametrize("real", ["Real World", "Real_World", "RealWorld", "real-world", "Real"])
def test_officehome_knows_its_folders_under_many_names(tmp_path, cache, real):
    root = write_tree(
        tmp_path / "root", ["ART/alarm clock", "clip art/TV", "Product/Tv", f"{real}/Alarm_Clock"]
    )
    index = open_dataset("officehome", root, cache)
    assert [domain.name for domain in index.domains] == list(OFFICE)
    assert index.classes == ("Alarm_Clock", "TV")
    assert index.name == "officehome"


def test_levels_are_optional_and_read_together(tmp_path, cache):
    root = write_tree(
        tmp_path / "root",
        ["clipart/train/bird", "clipart/test/bird", "real/bird", "sketch/images/train/zebra"],
    )
    index = open_dataset("domainnet7", root, cache)
    assert {name: len(index.domain(name)) for name in ("clipart", "real", "sketch")} == {
        "clipart": 4,
        "real": 2,
        "sketch": 2,
    }


def test_a_class_called_train_is_a_class(tmp_path, cache):
    root = write_tree(tmp_path / "root", ["a/train", "a/bus", "b/train", "b/bus"])
    assert open_dataset("folder", root, cache).classes == ("bus", "train")


def test_domainnet7_keeps_its_seven_classes(tmp_path, cache):
    root = write_tree(
        tmp_path / "root", ["clipart/bird", "clipart/airplane", "real/bird", "real/train/sun"]
    )
    write_tree(root, ["notes/bird"])
    index = open_dataset("domainnet7", root, cache)
    assert index.classes == ("bird",)
    assert [domain.name for domain in index.domains] == ["clipart", "real"]


@pytest.fixture
def of_this_test():
    """What a test registers is forgotten at its end."""
    with registry.DATASETS.restored_afterwards():
        yield


@pytest.mark.usefixtures("of_this_test")
def test_a_complete_tree_is_confirmed(tmp_path, cache):
    spec = replace(
        dataset_spec("office31"),
        name="tiny31",
        classes=("mug", "pen"),
        expected_counts={"amazon": 4, "dslr": 4, "webcam": 4},
    )
    register_dataset(spec)
    root = write_tree(
        tmp_path / "root", [f"{d}/images/{c}" for d in spec.domains for c in spec.classes]
    )
    index = open_dataset("tiny31", root, cache)
    verification = verify(index)
    assert verification.complete is True
    assert index.warnings == ()
    assert "12 images in 3 domains, complete" in verification.summary


def test_an_incomplete_tree_runs_and_says_what_is_missing(tmp_path, cache):
    root = write_tree(tmp_path / "root", ["amazon/mug", "webcam/mug", "webcam/pen"])
    index = open_dataset("office31", root, cache)
    verification = verify(index)
    assert verification.complete is False
    assert verification.warnings == index.warnings
    assert any("'dslr' of office31 is missing" in line for line in index.warnings)
    assert any("'webcam' lacks 29 of 31 classes" in line for line in index.warnings)
    assert any("'amazon' has 2 images, the complete office31 has 2817" in w for w in index.warnings)

    console = Console(width=100, record=True, file=io.StringIO())
    console.print(verification_table(verification))
    text = console.export_text()
    rows = {line.split()[1]: line for line in text.splitlines() if line.startswith("│")}
    assert [cell.strip() for cell in rows["webcam"].split("│")[1:-1]] == [
        "webcam",
        "795",
        "4",
        "31",
        "2",
    ]
    assert "498" in rows["dslr"]


def test_classes_that_differ_in_spelling_only_are_named(tmp_path, cache):
    root = write_tree(tmp_path / "root", ["a/tea pot", "b/tea_pot", "a/mug", "b/mug"])
    warnings = open_dataset("folder", root, cache).warnings
    assert any("'tea pot', 'tea_pot' differ only in spelling" in line for line in warnings)


@pytest.mark.parametrize(
    ("name", "classes", "images"),
    [("officehome", 65, 15588), ("office31", 31, 4110), ("pacs", 7, 9991)],
)
def test_class_lists_and_counts_add_up(name, classes, images):
    spec = dataset_spec(name)
    assert len(set(spec.classes)) == len(spec.classes) == classes
    assert sum(spec.expected_counts.values()) == images
    assert set(spec.expected_counts) == set(spec.domains)


def test_default_pairs_are_in_canonical_order():
    for name in dataset_names():
        spec = dataset_spec(name)
        for a, b in spec.default_pairs or ():
            assert a in spec.domains
            assert b in spec.domains
    order = dataset_spec("domainnet7").domains.index
    pairs = dataset_spec("domainnet7").default_pairs
    assert len(set(pairs)) == 6
    assert all(order(a) < order(b) for a, b in pairs)


def test_folder_has_the_defaults_of_shapes():
    folder, shapes = dataset_spec("folder"), dataset_spec("shapes")
    assert (folder.defaults, folder.ks) == (shapes.defaults, shapes.ks)


def test_the_environment_says_where_data_is(tmp_path, cache, monkeypatch):
    write_tree(tmp_path / "all" / "Office-Home", ["Art/Bed", "Product/Bed"])
    write_tree(tmp_path / "all" / "pacs", ["photo/dog", "sketch/dog"])
    monkeypatch.setenv("HARNESS_DATA_ROOT", str(tmp_path / "all"))
    assert open_dataset("officehome", None, cache).root.name == "Office-Home"
    assert open_dataset("pacs", None, cache).root.name == "pacs"
    monkeypatch.setenv("HARNESS_DATA_ROOT", str(tmp_path / "all" / "pacs"))
    assert open_dataset("pacs", None, cache).root.name == "pacs"
    assert open_dataset("folder", None, cache).name == "pacs"
    other = write_tree(tmp_path / "other", ["photo/cat", "sketch/cat"])
    assert open_dataset("folder", other, cache).name == "other"


@pytest.mark.usefixtures("of_this_test")
def test_shapes_needs_no_data_root_and_comes_out_the_same(tmp_path, monkeypatch):
    settings = registry.shapes.ShapesSettings(images_per_class=1, image_size=16)
    register_dataset(
        registry.shapes.SPEC,
        registry.Generator(
            settings.folder_name, lambda root: registry.shapes.generate(root, settings)
        ),
    )
    monkeypatch.setenv("HARNESS_DATA_ROOT", str(tmp_path / "not there"))
    first = open_dataset("shapes", None, tmp_path / "cache")
    again = open_dataset("shapes", None, tmp_path / "cache")
    elsewhere = open_dataset("shapes", None, tmp_path / "cache2")
    assert first.fingerprint == again.fingerprint == elsewhere.fingerprint
    assert {domain.name: len(domain) for domain in first.domains} == dict.fromkeys(
        dataset_spec("shapes").domains, len(dataset_spec("shapes").classes)
    )
    assert first.warnings == ()


@pytest.mark.usefixtures("of_this_test")
def test_a_data_set_from_outside_is_opened_by_name(tmp_path, cache):
    spec = DatasetSpec(
        name="shoes",
        ks=(1,),
        primary_metric="P@1",
        defaults=dataset_spec("shapes").defaults,
        domains=("street", "shop"),
    )
    register_dataset(spec)
    root = write_tree(tmp_path / "root", ["Shop/boot", "street/boot"])
    index = open_dataset("shoes", root, cache)
    assert index.spec is spec
    assert [domain.name for domain in index.domains] == ["street", "shop"]
    with pytest.raises(UsageError, match="is taken"):
        register_dataset(replace(spec, ks=(5,)))


def test_image_names():
    for name in ("a.png", "B.JPG", "c.WebP", "d.tiff", "e.gif", "f.bmp", "g.ppm"):
        assert is_image_name(name), name
    for name in ("a.md", "png", ".png", "b.pdf", "c.h5", "d.mpg", "e.eps", "Thumbs.db"):
        assert not is_image_name(name), name


def test_unknown_name_gets_the_nearest(cache):
    with pytest.raises(UsageError, match="Did you mean 'officehome'"):
        open_dataset("office-home", None, cache)


@pytest.mark.parametrize("name", ["officehome", "domainnet7", "office31", "pacs", "folder"])
def test_no_data_says_which_folders_and_the_two_ways(name, cache, tmp_path):
    for root in (None, tmp_path / "not there"):
        with pytest.raises(UsageError) as caught:
            open_dataset(name, root, cache)
        sentence = str(caught.value)
        assert "--data-root" in sentence
        assert "HARNESS_DATA_ROOT" in sentence
        for domain in dataset_spec(name).domains or ("subfolder per domain",):
            assert domain in sentence
        assert "\n" not in sentence


def test_a_root_without_the_domains_lists_what_it_holds(tmp_path, cache):
    write_tree(tmp_path / "root", ["cats/tabby", "dogs/poodle"])
    with pytest.raises(UsageError, match=r"No domain of 'pacs' .*cats, dogs.*art_painting"):
        open_dataset("pacs", tmp_path / "root", cache)


def test_one_domain_is_refused(tmp_path, cache):
    root = write_tree(tmp_path / "root", ["photo/dog"])
    with pytest.raises(UsageError, match=r"at least two domain folders; .* holds photo\."):
        open_dataset("folder", root, cache)
    with pytest.raises(UsageError, match=r"at least two domain folders.*art_painting, cartoon"):
        open_dataset("pacs", root, cache)


def test_a_domain_without_images_is_named(tmp_path, cache):
    root = write_tree(tmp_path / "root", ["photo/dog", "sketch/dog"])
    (root / "empty one" / "dog").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"domain folder .*empty one holds no images"):
        open_dataset("folder", root, cache)


def test_two_folders_for_one_domain_are_refused(tmp_path, cache):
    root = write_tree(tmp_path / "root", ["Real World/Bed", "Real/Bed", "Art/Bed"])
    with pytest.raises(UsageError, match=r"mean the domain 'Real_World': 'Real' and 'Real World'"):
        open_dataset("officehome", root, cache)


def test_a_file_that_cannot_be_opened_stops_or_is_skipped(tmp_path, cache):
    root = write_tree(tmp_path / "root", ["a/ant", "b/ant"])
    (root / "a/ant/gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(UsageError, match=r"a/ant/gone.png: No such file"):
        open_dataset("folder", root, cache)
    index = open_dataset("folder", root, cache, skip_unreadable=True)
    assert len(index.domain("a")) == 2
    assert any("a/ant/gone.png was skipped" in line for line in index.warnings)


def test_a_cache_folder_that_cannot_be_made_gets_a_sentence(tmp_path):
    root = write_tree(tmp_path / "root", ["a/ant", "b/ant"])
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UsageError, match=r"cannot be written .*--cache-dir"):
        open_dataset("folder", root, tmp_path / "file")
