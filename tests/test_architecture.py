"""docs/architecture.md draws what is there, and files are where a newcomer looks for them."""

import ast
import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DRAWING = re.search(
    r"```mermaid\n(.*?)```", (ROOT / "docs" / "architecture.md").read_text(), re.DOTALL
).group(1)
HOUSE = ("commands", "plan", "search", "cluster", "leaderboard", "selection", "statistics")


def arrows():
    """(importing module, imported module) of every solid arrow of the drawing."""
    names = dict(re.findall(r"(\w+)\[([\w.]+)\]", DRAWING))
    plain = re.sub(r"\[[\w.]+\]", "", DRAWING)
    found = re.findall(r"(\w+) -->(?:\|[^|]*\|)? ?(\w+)", plain)
    return [(names[source], names[target]) for source, target in found]


def imported(module):
    path = Path(importlib.util.find_spec(module).origin)
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_arrow_of_the_drawing_is_an_import():
    found = arrows()
    assert len(found) >= 20
    for source, target in found:
        assert target in imported(source), f"{source} does not import {target}"


def test_the_drawing_passes_every_folder_of_the_house():
    drawn = {module.split(".")[1] for arrow in arrows() for module in arrow}
    assert {"commands", "plan", "search", "cluster", "training", "leaderboard"} <= drawn


def test_a_folder_of_the_house_can_be_taken_in_at_a_glance():
    for name in HOUSE:
        files = [p for p in (ROOT / "harness" / name).glob("*.py") if p.name != "__init__.py"]
        assert 0 < len(files) <= 10, name


def test_files_are_named_by_what_they_hold():
    silent = {"utils", "util", "helpers", "helper", "common", "misc", "core"}
    assert not [path for path in ROOT.glob("harness/**/*.py") if path.stem in silent]


def test_only_the_evaluation_and_the_data_sets_read_labels():
    folders = ("harness", "losses", "models")
    for path in [path for folder in folders for path in (ROOT / folder).rglob("*.py")]:
        inside = {part.name for part in path.parents}
        if not inside & {"evaluation", "datasets"}:
            assert "class_id_N" not in path.read_text(), path
