"""What tune and compare print of leaderboards and tuning curves, and what they leave out."""

import dataclasses
from types import SimpleNamespace

import pytest
from optuna.distributions import IntDistribution
from rich.console import Console
from study_examples import CONTEXT, PAPER, epoch, plan, record, study, toy_index

from harness.commands.compare import _summarise, band_notes, trials_for_band, with_band
from harness.commands.progress import OPEN_SHOWN, board_metrics, board_table, comparable_rows
from harness.commands.search import _show_outcome
from harness.leaderboard.board import chance_row, merge_rows, study_rows
from harness.leaderboard.schema import OPEN_METRICS
from harness.leaderboard.store import ResultsStore
from harness.options import TuneOptions
from harness.plan.start_points import start_count
from harness.statistics.tuning_curves import MIN_TRIALS, study_curves

PAIR = ("a", "b")
OPEN = dict(zip(OPEN_METRICS, (61.5, 50.0, 55.75, 42.5, 31.0), strict=True))


def trial(number, *reports, status="finished", origin="start", **changes):
    """A trial of a study that differs from the example in ``changes``."""
    held = record(number, *reports, status=status, origin=origin)
    of = study(**changes)
    if of.scenario == "open":
        held.epochs = {
            number: dataclasses.replace(report, metrics={"ab": {**report.metrics["ab"], **OPEN}})
            for number, report in held.epochs.items()
        }
    trial_id = f"{of.study_id}.a-b.{number:04d}"
    return dataclasses.replace(
        held, config=dataclasses.replace(held.config, study=of, trial_id=trial_id)
    )


def rows_of(p1, **changes):
    """The rows that a study of one trial has on the board a to b, with chance."""
    held = trial(0, epoch(0, 0.1, 4.0, 4.0), epoch(3, 0.5, float(p1), float(p1)), **changes)
    chance = chance_row(held.config.study, PAIR, "ab", {"P@1": 8.3}, CONTEXT)
    return [*study_rows([held], "ab", CONTEXT), chance]


def board(*parts):
    rows = []
    for part in parts:
        rows = merge_rows(rows, part, "P@1")
    return rows


def drawn(part, width=140):
    console = Console(width=width)
    with console.capture() as text:
        console.print(part)
    return text.get()


def lines_of(text, protocol):
    return [line for line in text.splitlines() if protocol in line.split()]


@pytest.mark.parametrize(
    "other",
    [
        {"scenario": "partial"},
        {"backbone": "resnet50"},
        {"weights": "timm"},
        {"image_size": 64},
        {"epochs": 9},
    ],
)
def test_rows_that_are_not_comparable_with_this_run_are_not_printed(other):
    rows = board(rows_of(30), rows_of(70, method="ucdir", **other), rows_of(50, method="uem"))
    kept = comparable_rows(rows, study())
    assert {row["method"] for row in kept} == {"cluster", "uem", "chance"}
    assert [row["rank"] for row in kept if row["protocol"] == "last"] == [1, 2]
    assert sum(row["kind"] == "chance" for row in kept) == 1
    back = comparable_rows(rows, study(**other))
    assert {row["method"] for row in back} == {"ucdir", "chance"}


def test_weights_from_a_file_are_compared_by_the_name_that_stands_in_the_row():
    rows = board(rows_of(30, weights="here/best.pt"))
    assert comparable_rows(rows, study(weights="there/best.pt")) == rows


def test_the_run_prints_its_scenario_alone_and_the_file_keeps_all(tmp_path):
    store = ResultsStore(tmp_path, "toy", CONTEXT.ks)
    store.open_for_writing(toy_index())
    rows = board(
        rows_of(30, method="uem", scenario="open"), rows_of(70, method="uem", scenario="partial")
    )
    store.write_board("a", "b", rows)
    store.close()
    text = {}
    for scenario in ("open", "partial"):
        prepared = SimpleNamespace(
            store=store, plans=(plan(scenario=scenario),), pairs=(PAIR,), context=CONTEXT
        )
        driver = SimpleNamespace(halted=False, scopes=[], ended_now=[])
        console = Console(width=140)
        with console.capture() as captured:
            _show_outcome(TuneOptions(scenario=scenario), prepared, driver, console)
        text[scenario] = captured.get()
        assert f"a → b, scenario {scenario}" in text[scenario]
        assert len(lines_of(text[scenario], "last")) == 1
        # Protocol and method are both named chance.
        assert len(lines_of(text[scenario], "chance")) == 1
    assert "30.0" in lines_of(text["open"], "last")[0]
    assert "70.0" in lines_of(text["partial"], "last")[0]
    assert "61.5" in lines_of(text["open"], "last")[0]
    assert "P@15" in text["partial"]
    assert "P@15" not in text["open"]
    assert len(store.read_board("a", "b")) == len(rows)


def test_the_open_set_figures_are_printed_within_the_width_of_a_page():
    searched = ["K", "lambda_dd", "lambda_se", "tau"]
    rows = [
        {**row, "lambda_dd": 0.0356, "lambda_se": 0.599} if row["kind"] == "trained" else row
        for row in board(rows_of(30, scenario="open"))
    ]
    assert board_metrics(CONTEXT, "open") == ["P@1", *OPEN_SHOWN]
    by_map = dataclasses.replace(CONTEXT, primary_metric="mAP@All")
    assert board_metrics(by_map, "open") == ["P@1", "mAP@All", *OPEN_SHOWN]
    text = drawn(board_table("a → b", rows, board_metrics(CONTEXT, "open"), searched), width=200)
    (last,) = lines_of(text, "last")
    for shown in ("30.0", "61.5", "55.8", "42.5"):
        assert shown in last
    assert "open_acc" in text
    assert "λse 0.599" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 125


def test_floors_that_read_the_same_are_one_row_of_no_single_method():
    uem = [
        {**row, "P@1": 6.0} if row["protocol"] == "floor" else row
        for row in rows_of(50, method="uem")
    ]
    rows = board(rows_of(30), rows_of(40, method="ucdir"), uem)
    text = drawn(board_table("a → b", rows, board_metrics(CONTEXT, "close"), ["K", "tau"]))
    (pooled,) = lines_of(text, "floor:pooled")
    assert pooled.split()[:2] == ["floor:pooled", "all"]
    same, own = lines_of(text, "floor")
    assert "cluster, ucdir" in same
    assert "4.0" in same
    assert own.split()[:3] == ["floor", "uem", "6.0"]
    assert len(lines_of(text, "last")) == 3


def test_the_floor_of_one_method_keeps_its_name_however_many_studies_it_has():
    rows = board(rows_of(30), rows_of(30, seed=1))
    text = drawn(board_table("a → b", rows, ["P@1"], []))
    assert [line.split()[:2] for line in lines_of(text, "floor:pooled")] == [
        ["floor:pooled", "cluster"]
    ]
    assert len(lines_of(text, "last")) == 2


def test_many_methods_of_one_floor_are_counted():
    names = ("ucdir", "protoot", "uem", "cds", "pcs")
    rows = board(*(rows_of(30, method=name) for name in names), rows_of(30)[:-2])
    rows = [row for row in rows if row["protocol"] != "floor:pooled" or row["method"] != "cluster"]
    text = drawn(board_table("a → b", rows, ["P@1"], []))
    (pooled,) = lines_of(text, "floor:pooled")
    assert "5 methods" in pooled


def trials(count, **changes):
    """Ended trials of a study; as many start trials as the sentence about them is tested for."""
    return [trial(i, epoch(3, i / 10, 10.0 * i, 10.0 * i), **changes) for i in range(count)]


def compared(*plans, store=None):
    return SimpleNamespace(plans=plans, pairs=(PAIR,), context=CONTEXT, store=store)


def noted(records, *plans):
    rows = study_curves(records, ["P@1"])
    kept, short = with_band(plans, (PAIR,), rows, "P@1")
    return kept, band_notes(compared(*plans), records, short)


def test_too_few_start_trials_give_a_sentence_in_place_of_a_curve():
    plans = (plan(trials=6), plan(trials=6, seed=1))
    kept, notes = noted([*trials(MIN_TRIALS), *trials(MIN_TRIALS, seed=1)], *plans)
    assert kept == []
    assert len(notes) == 1
    assert notes[0].startswith("No tuning curve of cluster, cluster is shown")
    assert "--trials 10 or more" in notes[0]


def test_the_number_of_trials_that_is_told_has_a_band_and_one_less_has_none():
    needed = trials_for_band(plan(), stopped=False)
    for count, banded in ((needed, True), (needed - 1, False)):
        held = plan(trials=count)
        kept, notes = noted(trials(start_count(count)), held)
        assert (bool(kept), bool(notes)) == (banded, not banded)


@pytest.mark.parametrize("sampler", ["random", "qmc(scrambled)"])
def test_a_sampler_that_learns_nothing_needs_fewer_trials(sampler):
    held = plan(trials=3, sampler=sampler)
    assert "--trials 4 or more" in noted(trials(3, sampler=sampler), held)[1][0]
    stopped = trial(2, epoch(1, 0.1, 1, 1), status="pruned", origin="proposed", sampler=sampler)
    assert "--trials 10 or more" in noted([*trials(2, sampler=sampler), stopped], held)[1][0]


def test_it_is_told_when_more_trials_are_not_what_lacks():
    enough = plan(trials=12)
    failed = [*trials(2), *(trial(i, status="failed") for i in (2, 3))]
    assert "fewer have finished so far" in noted(failed, enough)[1][0]
    small = plan(trials=6, space={"K": IntDistribution(2, 4)})
    assert "a space of 3 settings" in noted(trials(2), small)[1][0]


def test_a_method_with_nothing_to_search_is_context_for_the_curve_of_another():
    still = dataclasses.replace(plan(seed=1), space={}, paper=PAPER)
    one = trials(1, seed=1)
    kept, notes = noted([*trials(5), *one], plan(trials=12), still)
    assert {row["study_id"] for row in kept} == {
        plan().config.study_id,
        still.config.study_id,
    }
    assert notes == []
    kept, notes = noted([*trials(2), *one], plan(), still)
    assert kept == []
    assert len(notes) == 1


@pytest.mark.parametrize("scenario", ["close", "open"])
def test_compare_has_curves_of_the_open_set_figures_under_open(tmp_path, scenario):
    store = ResultsStore(tmp_path, "toy", CONTEXT.ks)
    store.open_for_writing(toy_index())
    for held in trials(5, scenario=scenario):
        store.write_trial(held)
    parts = _summarise(compared(plan(trials=12, scenario=scenario), store=store))
    store.close()
    text = "".join(drawn(part, width=200) for part in parts)
    assert "P@1 of the trial" in text
    for metric in OPEN_SHOWN:
        assert (f"{metric} of the trial" in text) == (scenario == "open")
    assert ("61.5 [61.5, 61.5]" in text) == (scenario == "open")
