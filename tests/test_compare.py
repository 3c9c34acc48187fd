"""``python -m harness.compare``: the command line, the studies it shares with tune, its table."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
from command_runs import write_tree
from rich.console import Console
from study_examples import epoch, plan, record

from harness import compare, tune
from harness.command_line import parse
from harness.commands.compare import budget_notes, curve_table, search_options
from harness.commands.search import config_name
from harness.config import plain
from harness.errors import UsageError
from harness.lists import Lists
from harness.options import CompareOptions, TuneOptions
from harness.plan.samplers import describe_sampler
from harness.plan.studies import prepare_studies
from harness.statistics.tuning_curves import curve_rows


def read(*arguments):
    options, _ = parse(CompareOptions, Lists, arguments, prog="compare", description="")
    return search_options(options)


def test_methods_are_separated_by_commas_and_named_once():
    options = read("--methods", "ucdir, protoot,ucdir", "--trials", "4")
    assert options == TuneOptions(method=("ucdir", "protoot"), trials=4)
    assert type(options) is TuneOptions


def test_the_flag_of_tune_and_the_file_of_a_tune_run_name_methods_too(tmp_path):
    assert read("--method", "ucdir", "uem").method == ("ucdir", "uem")
    path = tmp_path / "run.json"
    path.write_text(json.dumps(plain(TuneOptions(method=("cds", "uem"), epochs=3))))
    assert read("--config", str(path)) == TuneOptions(method=("cds", "uem"), epochs=3, config=path)
    assert read("--config", str(path), "--methods", "uem,pcs").method == ("uem", "pcs")


@pytest.mark.parametrize("arguments", [(), ("--methods", "ucdir"), ("--methods", "uem,,uem")])
def test_one_method_is_no_comparison(arguments):
    with pytest.raises(UsageError, match="two methods or more") as error:
        read(*arguments)
    assert "harness.tune" in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--methods", "ucdir,protot"), "Did you mean 'protoot'?"),
        (("--method", "ucdir", "--metods", "a,b"), "Did you mean '--method"),
    ],
)
def test_what_is_unknown_is_refused_with_the_nearest(tmp_path, arguments, sentence):
    with pytest.raises(UsageError) as error:
        compare.main([*arguments, "--out", str(tmp_path)])
    assert sentence in str(error.value)
    assert not list(tmp_path.iterdir())


def test_studies_are_those_of_tune_with_the_same_flags(tmp_path, monkeypatch):
    flags = ["--dataset", "folder", "--data-root", str(write_tree(tmp_path / "colours", 3))]
    flags += ["--cache-dir", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    flags += ["--image-size", "32", "--batch-size", "4", "--epochs", "2", "--trials", "3"]
    asked = []

    def prepare_only(options, console, **rest):
        prepared = prepare_studies(
            options, trials=options.trials, sampler=describe_sampler(options.sampler)
        )
        asked.append([(p.config.study_id, p.trials, p.config.epochs) for p in prepared.plans])
        return 0

    monkeypatch.setattr("harness.commands.search.run_search_command", prepare_only)
    monkeypatch.setattr("harness.commands.compare.run_search_command", prepare_only)
    compare.main([*flags, "--methods", "cluster,protoot"])
    tune.main([*flags, "--method", "cluster", "--method", "protoot"])
    assert asked[0] == asked[1]
    assert [held[1:] for held in asked[0]] == [(3, 2), (3, 2)]


def drawn(part):
    console = Console(width=140, record=True, file=None, quiet=False)
    with console.capture() as text:
        console.print(part)
    return text.get()


def test_the_table_shows_the_ends_of_each_curve():
    trials = [record(i, epoch(3, i / 10, 10.0 * i, 10.0 * i + 1), origin="start") for i in range(5)]
    study_id = trials[0].config.study.study_id
    rows = curve_rows(trials, ["P@1"])
    lines = drawn(curve_table(rows, [("a", "b"), ("b", "a")], [study_id, "none"], "P@1"))
    there, back = [line for line in lines.splitlines() if "cluster" in line]
    for shown in ("a → b", "exchangeable", "n 1: 25.0 [", "n 2: 33.3 [", "n 4: 40.0 ["):
        assert shown in there
    assert "n 4: 41.0 [" in back


def test_without_exchangeable_trials_the_trajectory_is_labelled_as_such():
    trials = [record(0, epoch(3, 0.5, 30, 31), origin="start")]
    rows = curve_rows(trials, ["P@1"])
    text = drawn(curve_table(rows, [("a", "b")], [trials[0].config.study.study_id], "P@1"))
    assert "observed" in text
    assert "n 1: 30.0" in text
    assert "[" not in text


def test_unequal_numbers_of_trials_are_told():
    plans = (plan(), plan(seed=1), plan(seed=2, space={}))
    ids = [held.config.study_id for held in plans[:2]]
    prepared = SimpleNamespace(plans=plans, pairs=(("a", "b"), ("a", "c")))

    def ended(number, seed):
        held = record(number)
        study = dataclasses.replace(held.config.study, seed=seed)
        return dataclasses.replace(held, config=dataclasses.replace(held.config, study=study))

    records = [ended(0, 0), ended(1, 0), ended(0, 1)]
    assert {held.config.study.study_id for held in records} == set(ids)
    (note,) = budget_notes(prepared, records)
    assert note.startswith("a-b:")
    assert "cluster 2, cluster 1" in note
    assert budget_notes(prepared, [records[0], records[2]]) == []


def test_the_flags_of_many_methods_fit_into_a_file_name():
    assert config_name(["uem-1", "cds-2"]) == "uem-1+cds-2"
    many = [f"method{i}-0123abcd" for i in range(30)]
    assert len(config_name(many)) < 60
    assert config_name(many) != config_name(many[1:] + many[:1])
