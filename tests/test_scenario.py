"""Which pairs a study trains, and which images a scenario keeps."""

import random

import numpy as np
import pytest
from image_trees import index_of, write_tree

from harness.datasets.registry import open_dataset
from harness.datasets.scenario import (
    class_half,
    domain_subset,
    encode_name,
    pair_slug,
    resolve_pairs,
)
from harness.errors import UsageError

LETTERS = {"Art": "aabbccddee", "Clip-art": "abcdeabcde", "Real World": "edcba"}


@pytest.fixture
def index():
    return index_of(LETTERS)


@pytest.mark.parametrize(("total", "kept"), [(65, 32), (31, 15), (7, 3), (2, 1)])
def test_half_is_the_floor_of_the_sorted_list(total, kept):
    classes = [f"class {number:02}" for number in range(total)]
    half = class_half(classes, "officehome", 2024)
    assert len(half) == kept
    assert list(half) == sorted(set(half))
    assert set(half) <= set(classes)
    assert half == class_half(list(reversed(classes)), "officehome", 2024)
    drawn = random.Random("officehome-2024").sample(classes, kept)
    assert half == tuple(sorted(drawn))


def test_half_depends_on_seed_and_data_set_and_leaves_the_global_generator_alone():
    classes = [f"class {number:02}" for number in range(65)]
    state = random.getstate()
    halves = {
        class_half(classes, name, seed)
        for name in ("officehome", "pacs")
        for seed in (2024, 2025, 2026)
    }
    assert len(halves) == 6
    assert random.getstate() == state


def test_one_class_cannot_be_halved():
    with pytest.raises(UsageError, match="--scenario close"):
        class_half(["mug"], "mugs", 2024)


def letters_of(index, domain, position_N):
    return {index.classes[number] for number in index.domain(domain).class_id_N[position_N]}


def test_each_scenario_halves_its_side(index):
    half = set(class_half(index.classes, index.name, 2024))
    for scenario, halved in (("close", ()), ("partial", ("query",)), ("open", ("gallery",))):
        query_N, gallery_N = domain_subset(index, scenario, 2024, "Clip-art", "Art")
        for side, domain, position_N in (
            ("query", "Clip-art", query_N),
            ("gallery", "Art", gallery_N),
        ):
            assert position_N.dtype == np.int64
            expected = half if side in halved else set("abcde")
            assert letters_of(index, domain, position_N) == expected
            images = index.domain(domain).class_id_N
            kept = [i for i, number in enumerate(images) if index.classes[number] in expected]
            assert position_N.tolist() == kept


def test_the_half_is_the_same_for_all_pairs(index):
    kept = {
        tuple(sorted(letters_of(index, query, domain_subset(index, "partial", 7, query, "Art")[0])))
        for query in ("Clip-art", "Real World")
    }
    assert len(kept) == 1


def test_a_half_that_leaves_nothing_of_a_domain_is_refused():
    index = index_of({"x": "ab", "y": "a"})
    seed = next(s for s in range(99) if class_half("ab", index.name, s) == ("b",))
    with pytest.raises(UsageError, match=f"domain 'y' .*--scenario-seed {seed}"):
        domain_subset(index, "open", seed, "x", "y")
    with pytest.raises(UsageError, match="Did you mean 'partial'"):
        domain_subset(index, "parital", 1, "x", "y")


def test_all_pairs(index):
    close = resolve_pairs(index, "all", "close")
    assert close == (
        ("Art", "Clip-art"),
        ("Art", "Real World"),
        ("Clip-art", "Real World"),
    )
    assert resolve_pairs(index, None, "close") == close
    assert len(resolve_pairs(index, "all", "open")) == 6


def test_close_pairs_are_unordered_and_counted_once(index):
    assert resolve_pairs(index, "Real World-Art, Art-Real World", "close") == (
        ("Art", "Real World"),
    )


def test_directed_pairs(index):
    assert resolve_pairs(index, "Real World-Art", "partial") == (
        ("Real World", "Art"),
        ("Art", "Real World"),
    )
    one_way = resolve_pairs(index, "Real World-Art", "partial", both_ways=False)
    assert one_way == (("Real World", "Art"),)


@pytest.mark.parametrize(
    "text",
    ["Clip-art-Real World", "clip_art-real-world", "ClipArt - RealWorld", "Clip%2Dart-Real World"],
)
def test_names_with_dashes_and_spaces(index, text):
    assert resolve_pairs(index, text, "close") == (("Clip-art", "Real World"),)


def test_aliases_name_domains_too(tmp_path):
    root = write_tree(tmp_path / "root", ["Art/Bed", "Real World/Bed"])
    index = open_dataset("officehome", root, tmp_path / "cache")
    assert resolve_pairs(index, "real-art", "close") == (("Art", "Real_World"),)


def test_default_pairs_are_those_that_were_found(tmp_path):
    root = write_tree(tmp_path / "root", ["clipart/bird", "real/bird", "infograph/bird"])
    index = open_dataset("domainnet7", root, tmp_path / "cache")
    assert resolve_pairs(index, None, "close") == (("infograph", "real"),)
    assert len(resolve_pairs(index, "all", "close")) == 3
    root = write_tree(tmp_path / "two", ["clipart/bird", "real/bird"])
    index = open_dataset("domainnet7", root, tmp_path / "cache")
    with pytest.raises(UsageError, match="name pairs with --pairs"):
        resolve_pairs(index, None, "close")


def test_what_matches_two_ways_is_refused_and_can_be_written_clearly():
    index = index_of({"A": "x", "A-B": "x", "B-C": "x", "C": "x"})
    with pytest.raises(UsageError) as caught:
        resolve_pairs(index, "A-B-C", "close")
    assert "'A' with 'B-C' or 'A-B' with 'C'" in str(caught.value)
    assert "A-B%2DC or A%2DB-C" in str(caught.value)
    assert resolve_pairs(index, "A-B%2DC", "close") == (("A", "B-C"),)
    assert resolve_pairs(index, "A%2DB-C", "close") == (("A-B", "C"),)
    twins = index_of({"Art": "x", "Real World": "x", "Real_World": "x"})
    with pytest.raises(UsageError, match="can mean"):
        resolve_pairs(twins, "Art-RealWorld", "close")
    assert resolve_pairs(twins, "Art-Real_World", "close") == (("Art", "Real_World"),)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Art-Clippart", "no domain named 'Clippart'. Did you mean 'Clip-art'"),
        ("Clip-art-Rael World", "no domain named 'Rael World'. Did you mean 'Real World'"),
        ("Clipp-art-Rael World", "Did you mean 'Clip-art-Real World'"),
        ("Art", "no pair of domains: write A-B"),
        ("Art-Art", "names the domain 'Art' twice"),
        (",", "names no pair"),
    ],
)
def test_bad_pairs_get_a_sentence(index, text, sentence):
    with pytest.raises(UsageError) as caught:
        resolve_pairs(index, text, "close")
    assert sentence in str(caught.value)


def test_file_names_of_pairs_can_be_read_back():
    assert encode_name("50%-off/new") == "50%25%2Doff%2Fnew"
    assert pair_slug("Clip-art", "Real World") == "Clip%2Dart-Real World"
    assert pair_slug("Clip-art", "Real World") == "Clip%2Dart-Real World"
    assert pair_slug("A-B", "C") != pair_slug("A", "B-C")
