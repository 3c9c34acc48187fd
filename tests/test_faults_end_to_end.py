"""What kills, interrupts and failing trials leave behind, by ``python -m harness.tune`` itself."""

import json
import os
import signal
import time

import faulty_losses
import optuna
import pytest
from command_runs import Project
from faulty_losses import ALWAYS_RAISES, KILLED_ONCE, NOT_A_NUMBER, PLAIN, RAISES_ONCE

STEPS_PER_EPOCH = 3


class FaultyProject(Project):
    """A project with the loss module that fails on demand."""

    def __init__(self, folder):
        super().__init__(folder)
        self.module = folder / "faulty.py"
        self.module.write_text(faulty_losses.source(folder))

    def command(self, module, out, *arguments):
        own = ("--loss-module", str(self.module), "--method", "faulty")
        return super().command(module, out, *own, *arguments)

    def wait_for(self, condition, process, seconds=600):
        """Waits until the condition holds; a process that ends before is an error."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline
            assert process is None or process.poll() is None, process.stdout.read()
            time.sleep(0.05)

    def held(self):
        """Process ids of the trials that wait."""
        path = self.folder / "held"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def hold(self, epoch):
        """Makes every trial wait at the beginning of this epoch, counted from 0."""
        written = self.folder / "hold.new"
        written.write_text(str(epoch))
        written.replace(self.folder / "hold")
        (self.folder / "held").unlink(missing_ok=True)

    def study_db(self, out):
        """States of the trials in study.db, by study and parameters."""
        storage = f"sqlite:///{self.results(out)}/study.db"
        return {
            (name, tuple(trial.params.values())): trial
            for name in optuna.get_all_study_names(storage)
            for trial in optuna.load_study(study_name=name, storage=storage).trials
        }


def alive(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return FaultyProject(tmp_path_factory.mktemp("faults"))


FAILING = ("--pairs", "Art-Photo", "--epochs", "2", "--trials", "5", "--max-concurrent", "2")


@pytest.fixture(scope="module")
def failing(project):
    return project.run("tune", "failing", *FAILING)


@pytest.fixture(scope="module")
def by_case(project, failing):
    """By case the trial's rows."""
    frame = project.frame("failing", "trials")
    cases = frame["params"].map(lambda text: json.loads(text)["case"])
    return {int(case): rows for case, rows in frame.groupby(cases)}


def test_a_failed_trial_makes_exit_code_1_and_the_others_finish(failing, by_case):
    assert failing.returncode == 1, failing.stdout + failing.stderr
    status = {case: set(rows["status"]) for case, rows in by_case.items()}
    assert status == {
        PLAIN: {"finished"},
        RAISES_ONCE: {"finished"},
        ALWAYS_RAISES: {"failed"},
        NOT_A_NUMBER: {"failed"},
        KILLED_ONCE: {"finished"},
    }


@pytest.mark.parametrize("case", [RAISES_ONCE, KILLED_ONCE])
def test_a_trial_is_tried_again_from_its_last_epoch_and_counts_once(project, by_case, case):
    """Without checkpoints of its own a retried trial would begin at epoch 0."""
    rows = by_case[case]
    assert set(rows["attempts"]) == {2}
    assert sorted(rows["epoch"]) == [0, 0, 1, 1, 2, 2]
    assert rows["error_type"].isna().all()
    begun = faulty_losses.steps(project.folder)
    assert begun[case, 0.2, 0] == STEPS_PER_EPOCH
    assert begun[case, 0.2, 1] == 1 + STEPS_PER_EPOCH
    trials = project.study_db("failing")
    assert len(trials) == 5
    assert trials[f"{rows['study_id'].iloc[0]}/Art-Photo", (case,)].state.name == "COMPLETE"


def test_a_failed_trial_says_what_and_where_in_its_file_and_in_the_ledger(project, by_case):
    rows = by_case[ALWAYS_RAISES]
    assert set(rows["attempts"]) == {3}
    assert sorted(rows["epoch"]) == [0, 0, 1, 1]
    ledger = project.frame("failing", "failures.parquet").set_index("trial_id")
    assert set(ledger.index) == {
        by_case[case]["trial_id"].iloc[0] for case in (ALWAYS_RAISES, NOT_A_NUMBER)
    }
    for row in (rows.iloc[0], ledger.loc[rows["trial_id"].iloc[0]]):
        assert row["error_type"] == "ValueError"
        assert row["error_last_line"] == "prototypes have gone"
        assert row["error_frame"] == f"faulty.py:{faulty_losses.failing_line()} forward"


def test_a_loss_that_is_nan_fails_at_once_and_is_not_tried_again(project, by_case):
    """Tune would go on with the trial to its last epoch and leave it RUNNING in the study."""
    rows = by_case[NOT_A_NUMBER]
    assert set(rows["attempts"]) == {1}
    assert set(rows["error_type"]) == {"NonFiniteLossError"}
    assert rows["epoch"].max() == 1
    states = {key[1]: trial.state.name for key, trial in project.study_db("failing").items()}
    assert states == {
        (PLAIN,): "COMPLETE",
        (RAISES_ONCE,): "COMPLETE",
        (ALWAYS_RAISES,): "FAIL",
        (NOT_A_NUMBER,): "FAIL",
        (KILLED_ONCE,): "COMPLETE",
    }


def test_failures_are_lines_and_a_table_without_tracebacks(failing):
    shown = failing.stdout + failing.stderr
    lines = [line for line in failing.stdout.splitlines() if "faulty #" in line]
    assert len(lines) == 5
    assert sum("finished" in line for line in lines) == 3
    assert "2 failed" in failing.stdout
    assert "ValueError: prototypes have gone" in failing.stdout
    for noise in ("Traceback", "ray::", "ray.", "WARNING", "╭"):
        assert noise not in shown


def test_retry_failed_opens_failed_trials_again_under_the_same_id(project, by_case):
    (project.folder / "mended").touch()
    done = project.run("tune", "failing", *FAILING, "--retry-failed")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum("faulty #" in line for line in done.stdout.splitlines()) == 2
    frame = project.frame("failing", "trials")
    assert set(frame["status"]) == {"finished"}
    before = {case: rows["trial_id"].iloc[0] for case, rows in by_case.items()}
    after = frame.drop_duplicates("trial_id")
    assert (
        dict(
            zip(
                after["params"].map(lambda text: json.loads(text)["case"]),
                after["trial_id"],
                strict=True,
            )
        )
        == before
    )
    assert project.frame("failing", "failures.parquet").empty
    trials = project.study_db("failing")
    assert len(trials) == 5
    assert {trial.state.name for trial in trials.values()} == {"COMPLETE"}


STOPPED = (
    "--pairs", "Art-Photo,Art-Clip-Art", "--epochs", "3", "--trials", "2", "--max-concurrent", "2",
    "--set", "case=0", "--space", "tau=0.05:0.5:log",
)  # fmt: skip


@pytest.fixture(scope="module")
def stopped(project):
    """One search that is killed, interrupted and runs out of time before it may end."""
    folder = project.folder
    (folder / "steps").unlink(missing_ok=True)
    seen = {}

    def in_flight():
        return sorted(path.name for path in (project.results("stopped") / "in_flight").iterdir())

    project.hold(1)
    killed = project.start("tune", "stopped", *STOPPED)
    project.wait_for(lambda: len(project.held()) == 2, killed)
    orphans = project.held()
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    project.wait_for(lambda: not any(alive(orphan) for orphan in orphans), None, seconds=300)
    seen["killed"] = (killed.returncode, in_flight())

    project.hold(2)
    interrupted = project.start("tune", "stopped", *STOPPED)
    project.wait_for(lambda: len(project.held()) == 2, interrupted)
    os.killpg(interrupted.pid, signal.SIGINT)
    shown = interrupted.communicate(timeout=300)[0]
    seen["interrupted"] = (interrupted.returncode, in_flight(), shown, project.study_db("stopped"))
    workers = project.held()
    project.wait_for(lambda: not any(alive(worker) for worker in workers), None, seconds=300)

    project.hold(2)
    late = project.run("tune", "stopped", *STOPPED, "--time-budget", "10s")
    seen["late"] = (late.returncode, in_flight(), late.stdout, project.study_db("stopped"))

    (folder / "hold").unlink()
    done = project.run("tune", "stopped", *STOPPED)
    assert done.returncode == 0, done.stdout + done.stderr
    seen["done"] = (done.returncode, in_flight(), done.stdout, project.study_db("stopped"))
    return seen


def test_ctrl_c_ends_with_130_and_records_nothing_as_pruned_or_failed(stopped):
    code, in_flight, shown, studied = stopped["interrupted"]
    assert code == 130, shown
    assert len(in_flight) == 2
    assert in_flight == stopped["killed"][1]
    assert studied == {}
    assert "Interrupted. A search goes on where it stopped with the same command." in shown
    for noise in ("Traceback", "failed", "pruned", "ray::"):
        assert noise not in shown


def test_a_time_budget_ends_with_0_and_prunes_nothing(stopped):
    code, in_flight, shown, studied = stopped["late"]
    assert code == 0, shown
    assert in_flight == stopped["killed"][1]
    assert studied == {}
    assert "Stopped before the end: 0 of 4 trials have ended. The same command goes on." in shown
    for noise in ("Traceback", "failed", "pruned", "ray::"):
        assert noise not in shown


def test_a_killed_search_goes_on_and_counts_every_trial_once(project, stopped):
    assert stopped["killed"][0] == -signal.SIGKILL
    assert stopped["done"][1] == []
    frame = project.frame("stopped", "trials")
    assert set(frame["status"]) == {"finished"}
    assert not frame.duplicated(["trial_id", "query", "epoch"]).any()
    assert (frame.groupby("trial_id").size() == 8).all()
    ended = frame.drop_duplicates("trial_id")
    ended = ended.assign(pair=ended["trial_id"].str.split(".").str[1])
    assert dict(ended.groupby("pair").size()) == {"Art-Photo": 2, "Art-Clip%2DArt": 2}
    assert not ended.duplicated(["pair", "tau"]).any()
    states = [trial.state.name for trial in stopped["done"][3].values()]
    assert states == ["COMPLETE"] * 4


def test_half_done_trials_go_on_from_their_last_epoch(project, stopped):
    """Begun anew after each stop, the two first trials would have trained epoch 0 four times."""
    begun = faulty_losses.steps(project.folder)
    first = {epoch: begun[PLAIN, 0.2, epoch] for epoch in range(3)}
    assert first[0] == 2 * STEPS_PER_EPOCH
    assert first[1] == 2 + 2 * STEPS_PER_EPOCH
    # The run out of time may have begun the last epoch, or have been stopped before.
    assert first[2] in {2 + n + 2 * STEPS_PER_EPOCH for n in range(3)}
