"""The digest in a study's identity changes with the source of a method, and with nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness import source_digest
from harness.methods import PairShape, get_method, method_names
from harness.methods.registry import METHODS
from harness.plugins import PluginFile, method_digest
from harness.source_digest import statements
from losses.contract import LOSSES

ROOT = Path(__file__).parents[1]


def digest(name: str, plugin: PluginFile | None = None, **values) -> str:
    method = get_method(name)
    recipe = method.build(method.resolve("paper", "", values), PairShape(500, 500, 64))
    return method_digest(method, recipe, plugin)


def built_in_digests() -> dict[str, str]:
    return {name: digest(name) for name in METHODS.built_in()}


@pytest.fixture
def edit(monkeypatch):
    """Replaces text in the source of a module, for whoever reads it."""
    read = source_digest._source_of
    edits = {}

    def edited(name):
        source = read(name)
        for old, new in edits.get(name, ()):
            assert old in source, f"{name} does not hold {old!r}"
            source = source.replace(old, new)
        return source

    def add(module, old, new):
        edits.setdefault(module, []).append((old.encode(), new.encode()))

    monkeypatch.setattr(source_digest, "_source_of", edited)
    return add


def changed_by(edit, module, old, new) -> set[str]:
    before = built_in_digests()
    edit(module, old, new)
    after = built_in_digests()
    return {name for name in before if before[name] != after[name]}


def test_every_built_in_method_has_one_whatever_its_parameters():
    for name in METHODS.built_in():
        assert len(digest(name)) == 64
    assert digest("ucdir", K=5, tau=0.3) == digest("ucdir")


@pytest.mark.parametrize(
    ("module", "old", "new", "methods"),
    [
        ("losses.proto_nce", "scale = tau", "scale = 2 * tau", {"pcs", "protonce"}),
        ("losses.parts.soft_centroids", "share_BK.T @ z_BD", "z_BD", {"ucdir_ot"}),
        ("losses.parts.marginal_sinkhorn", "def prototype_plan", "def plan_of", {"protoot"}),
        (
            "harness.training.clusterings.concentration",
            "PCS_LEAST = 0.05",
            "PCS_LEAST = 0.1",
            {"pcs", "protonce"},
        ),
        ("harness.methods.query_frame", "= 512", "= 256", {"cds", "pcs", "coda"}),
        (
            "harness.training.clusterings.union_kmeans",
            "restarts: int = 5",
            "restarts: int = 4",
            {"coda"},
        ),
    ],
)
def test_a_change_of_a_source_changes_the_methods_that_compute_with_it(
    edit, module, old, new, methods
):
    assert changed_by(edit, module, old, new) == methods


def test_the_readouts_count_for_every_method(edit):
    assert changed_by(edit, "harness.training.readouts", "shrinkage: float = 0.1", "s=1") == set(
        METHODS.built_in()
    )


def test_kmeans_counts_for_the_methods_that_cluster(edit):
    clustering = {
        name
        for name in METHODS.built_in()
        for method in [get_method(name)]
        for stage in method.build(method.resolve("paper", "", {}), PairShape(90, 90, 16)).stages
        if stage.clustering is not None
    }
    assert changed_by(edit, "harness.training.kmeans", "def kmeans(", "def k_means(") == clustering
    assert "instance" not in clustering


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("losses.coral", '"""Covariance of a batch', '"""The covariance of a batch'),
        ("losses.coral", "\n\n\n", "\n\n\n# A thought.\n"),
        ("harness.methods.space", "def cluster_guess", "def guess"),
        ("losses.mmd", '@register_loss("mmd")', '@register_loss("mmd")  # kernels'),
    ],
)
def test_wording_and_what_computes_nothing_do_not_count(edit, module, old, new):
    assert changed_by(edit, module, old, new) == set()


def test_statements_are_a_source_without_its_prose():
    source = '''"""A module."""
import x  # why

TEXT = """kept
"""
"""What TEXT is."""


def f(a="# kept"):
    """Docs
    over lines.
    """
    # a thought
    return a, "kept", ("also "
        "kept")


class C: "kept, for it shares its line"
'''
    assert statements(source.encode()).splitlines() == [
        "import x",
        'TEXT = """kept',
        '"""',
        'def f(a="# kept"):',
        '    return a, "kept", ("also "',
        '        "kept")',
        'class C: "kept, for it shares its line"',
    ]


PLUGIN = """
from harness.methods import Method, register_method
from harness.methods.recipe import LossTerm
from harness.methods.ucdir import InstanceParameters, momentum_frame
from losses import Loss, register_loss


@register_loss("digest_gap")
class Gap(Loss):
    def forward(self, a, b, step):
        return (a.z_BD.mean(0) - b.z_BD.mean(0)).square().sum()


register_method(
    Method(
        name="digest_gap",
        summary="for a test",
        parameters=InstanceParameters,
        recipe=lambda p, shape: momentum_frame(p, (LossTerm(loss="digest_gap"),), None),
        presets={"paper": lambda dataset: {}, "scratch": lambda dataset: {}},
    )
)
"""


def of_plugin(text: str, path: str = "mine.py") -> str:
    with LOSSES.restored_afterwards(), METHODS.restored_afterwards():
        plugin = PluginFile(path, text.encode())
        sys.modules.pop(plugin.module_name, None)
        plugin.load()
        return digest("digest_gap", plugin)


def test_of_a_plug_in_its_file_counts_and_what_it_builds_on_but_not_where_it_lies(edit):
    first = of_plugin(PLUGIN)
    assert of_plugin(PLUGIN, "elsewhere/other.py") == first
    assert of_plugin(PLUGIN.replace(".square()", ".abs()")) != first
    edit("harness.methods.ucdir", "splits=2", "splits=4")
    assert of_plugin(PLUGIN) != first


def test_it_is_the_same_in_another_process_and_folder(tmp_path):
    for package in ("harness", "losses", "models"):
        shutil.copytree(ROOT / package, tmp_path / package)
    script = (
        "import json; from harness.methods import *; from harness.plugins import method_digest; "
        "print(json.dumps({n: method_digest(m, m.build(m.resolve('scratch', 'pacs', {}), "
        "PairShape(90, 80, 16)), None) for n in method_names() for m in [get_method(n)]}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        timeout=120,
    )
    assert json.loads(done.stdout) == built_in_digests()
    assert set(built_in_digests()) <= set(method_names())
