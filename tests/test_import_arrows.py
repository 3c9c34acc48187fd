"""Imports go one way, Ray stays above the training, and labels stay in their vault."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A package may import those of its own rank or lower. Commands stand above all.
RANKS = {
    "harness.search": 5,
    "harness.leaderboard": 4,
    "harness.training": 3,
    "harness.methods": 3,
    "harness.evaluation": 2,
    "harness.validators": 2,
    "models": 1,
    "losses": 1,
    "harness.datasets": 1,
    "harness.config": 0,
    "harness.errors": 0,
    "harness.seeds": 0,
}
RAY_FREE = [name for name in RANKS if name != "harness.search"]


def modules(package: str):
    path = ROOT / package.replace(".", "/")
    files = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
    return sorted(files)


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def package_of(module: str) -> str | None:
    return next((name for name in RANKS if module == name or module.startswith(name + ".")), None)


@pytest.mark.parametrize("package", RANKS)
def test_a_package_imports_only_what_stands_below_it(package):
    files = modules(package)
    assert files
    for path in files:
        for name in imported(path):
            other = package_of(name)
            if other is not None:
                assert RANKS[other] <= RANKS[package], f"{path} imports {name}"


@pytest.mark.parametrize("package", RAY_FREE)
def test_nothing_below_the_search_imports_ray(package):
    for path in modules(package):
        assert not any(n == "ray" or n.startswith("ray.") for n in imported(path)), path


def test_only_the_evaluation_and_the_data_sets_read_labels():
    for path in [*ROOT.glob("harness/**/*.py"), *ROOT.glob("losses/*.py"), *ROOT.glob("models/*")]:
        if path.suffix == ".py" and path.parent.name not in ("evaluation", "datasets"):
            assert "class_id_N" not in path.read_text(), path


def test_files_are_named_by_what_they_hold():
    silent = {"utils", "util", "helpers", "helper", "common", "misc", "core"}
    assert not [path for path in ROOT.glob("harness/**/*.py") if path.stem in silent]
