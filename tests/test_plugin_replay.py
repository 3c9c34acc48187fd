"""Methods from a file or a package, as a user runs them: trained, replayed, refused once changed.

A name can be registered once in a process, so the trainings have processes of their own.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from in_process_search import write_domains

from harness.errors import UsageError
from harness.leaderboard.schema import trial_schema
from harness.leaderboard.store import ResultsStore
from harness.plugins import load_entry_points
from harness.train import main

DOC = Path(__file__).parents[1] / "docs" / "extending.md"
EXAMPLE = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)[0]
SETTINGS = ("--image-size", "32", "--batch-size", "8", "--epochs", "1", "--backbone", "test_resnet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugins")
    write_domains(folder / "squares", domains=2)
    return folder


def flags(folder, out, *more):
    """Of a training on the squares."""
    data = ("--data-root", str(folder / "squares"), "--cache-dir", str(folder / "cache"))
    return [*data, "--out", str(out), *more]


def settings(method):
    return ("--dataset", "folder", "--method", method, *SETTINGS)


def train_and_replay(given, chosen, package: Path | None = None) -> str:
    """Trains and replays the trial in one fresh process; what it prints."""
    paths = [str(package)] if package else []
    paths += [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    script = (
        "import json, sys; from pathlib import Path; from harness.train import main; "
        "given, chosen = json.loads(sys.argv[1]); "
        "out = Path(given[given.index('--out') + 1]); "
        "code = main([*given, *chosen]); "
        "trial_id = next(out.glob('*/trials/*/*.parquet')).stem; "
        "sys.exit(max(code, main([*given, '--replay', trial_id])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps([given, chosen])],
        capture_output=True,
        text=True,
        check=False,
        cwd=DOC.parents[1],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def first_row(out: Path) -> dict:
    return pq.ParquetFile(next(out.glob("*/trials/*/*.parquet"))).read().to_pylist()[0]


def test_a_row_of_a_file_from_outside_is_replayed_with_that_file_and_no_other(folder):
    module, out = folder / "my_method.py", folder / "of-file"
    source = EXAMPLE.replace("mean_gap", "file_gap")
    module.write_text(source)
    given = flags(folder, out, "--loss-module", str(module))
    assert "Identical: 2 epochs" in train_and_replay(given, settings("file_gap"))
    trial_id = first_row(out)["trial_id"]

    with pytest.raises(UsageError, match=r"'file_gap' of the trial .* by --loss-module"):
        main(flags(folder, out, "--replay", trial_id))
    module.write_text(source.replace(".square().sum()", ".abs().sum()"))
    with pytest.raises(UsageError) as refused:
        main([*given, "--replay", trial_id])
    said = str(refused.value)
    assert f"of the trial {trial_id} was trained with another version of its source" in said
    assert said.endswith("name its file by --loss-module FILE.")


def install(place: Path, source: str) -> Path:
    """What pip leaves of a package that names its module in the entry point group."""
    described = place / "gap_package-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: gap-package\nVersion: 1.0\n")
    group = "[uxretrieval_harness.plugins]\npackaged_gap = gap_package\n"
    (described / "entry_points.txt").write_text(group)
    (place / "gap_package.py").write_text(source)
    return place


def test_an_installed_package_brings_its_method_without_a_flag(folder):
    source = EXAMPLE.replace("mean_gap", "packaged_gap")
    package, out = install(folder / "site", source), folder / "of-package"
    said = train_and_replay(flags(folder, out), settings("packaged_gap"), package)
    assert "Identical: 2 epochs" in said
    row = first_row(out)
    assert row["method"] == "packaged_gap"
    assert len(json.loads(row["config_json"])["study"]["method_digest"]) == 64


def test_a_package_whose_plugin_cannot_be_imported_is_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(install(tmp_path / "site", "import no_such_module_at_all\n")))
    load_entry_points.cache_clear()
    try:
        with pytest.raises(UsageError, match=r"plugin 'packaged_gap' \(gap_package\).*no_such_mod"):
            load_entry_points()
    finally:
        load_entry_points.cache_clear()


def test_a_plug_in_adds_no_column_and_its_figures_are_read_without_it(folder):
    out = folder / "one-schema"
    module = folder / "gap.py"
    module.write_text(EXAMPLE.replace("mean_gap", "schema_gap"))
    given = flags(folder, out, "--loss-module", str(module))
    train_and_replay(given, settings("schema_gap"))
    path = next(out.glob("*/trials/*/*.parquet"))
    assert pq.read_schema(path).equals(trial_schema((1, 5, 15)), check_metadata=True)
    row = pq.ParquetFile(path).read().to_pylist()[-1]
    figures = json.loads(row["other_figures"])
    assert {"loss.schema_gap", "loss.schema_gap.weighted"} <= set(figures)
    record = ResultsStore(out, path.parents[2].name, (1, 5, 15)).read_trial(path)
    assert record.last.losses["schema_gap"] == figures["loss.schema_gap"]
    assert json.loads(row["params"]) == record.config.params
