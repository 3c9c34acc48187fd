"""Connects the driver of a search to one Ray Tune run."""

import tempfile
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.config import TrialConfig
from harness.errors import UsageError
from harness.records import TrialRecord
from harness.search.driver import SearchDriver
from harness.training.scored_trial import TrialData

# First of all that imports ray: see there.
from harness.cluster.connect import connect  # isort: skip

import ray
from ray import cloudpickle, tune
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, TuneConfig, Tuner
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import TimeoutStopper

from harness.cluster.nodes import node_notes, probe_nodes
from harness.cluster.trial_process import RunInfo, TrialFailedError, train_under_tune

RETRIES = 2


class _InThisProcess:
    """Tune pickles and copies what it is given, to restore it one day; we start from our files."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self


class _Proposals(_InThisProcess, Searcher):
    """Asks the driver for trials. What became of them the driver hears from :class:`_Reports`."""

    def __init__(self, driver: SearchDriver, limit: Callable[[], int]) -> None:
        super().__init__(metric="objective", mode="max")
        self._driver = driver
        self._limit = limit

    def suggest(self, trial_id: str) -> Any:
        # Tune asks one trial ahead; a proposal that waits for a place would not have learnt from
        # the trials that end meanwhile.
        if self._driver.missing and self._driver.running >= self._limit():
            return None
        config = self._driver.next_trial()
        if config is None:
            # Confirmations follow once the search of their pair has ended.
            return None if self._driver.more_to_come else Searcher.FINISHED
        return {"trial": config}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: the callback that follows has the trial's last report and its error."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the driver's own files are what a later run starts from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""


class _EarlyStopping(_InThisProcess, FIFOScheduler):
    """Hands a report to the driver and stops the trial if the driver says so."""

    def __init__(self, driver: SearchDriver) -> None:
        super().__init__()
        self._driver = driver

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        stop = "record" in result and self._driver.report(result["record"])
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)


class _Reports(_InThisProcess, Callback):
    """Hands reports and endings to the driver."""

    def __init__(self, driver: SearchDriver, on_step: Callable[[], None]) -> None:
        self._driver = driver
        self._on_step = on_step

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._on_step()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        # The last report of a trial reaches no scheduler; any other one the driver has already.
        if result.get("done") and "record" in result:
            self._driver.report(result["record"])

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._driver.restarted(trial.config["trial"])

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._driver.end(trial.config["trial"])

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        config: TrialConfig = trial.config["trial"]
        self._driver.end(config, lost_trial(config, _error_of(trial)))


def _error_of(trial: Trial) -> Exception | None:
    """The error that ended a trial.

    Read from the driver's own folder: ``get_pickled_error`` looks where Tune copies it later.
    """
    path = trial.pickled_error_file
    if path is None or not Path(path).exists():
        return None
    error: Exception = cloudpickle.loads(Path(path).read_bytes())
    return error


def lost_trial(config: TrialConfig, error: Exception | None) -> TrialRecord:
    """The record of a trial whose process raised or was lost, from what Tune knows of its end."""
    cause = getattr(error, "cause", error)
    if isinstance(cause, TrialFailedError):
        return cause.record
    lines = [] if error is None else str(error).strip().splitlines()
    return TrialRecord(
        config=config,
        status="failed",
        error_type="LostProcess" if error is None else type(error).__name__,
        error_last_line=lines[0] if lines else "the trial's process was lost",
        error_trace=str(error),
    )


def run_search(
    driver: SearchDriver,
    data: TrialData,
    storage: Path,
    *,
    cpus_per_trial: int,
    gpus_per_trial: float,
    max_concurrent: int | None,
    time_budget: float | None = None,
    address: str | None = None,
    on_step: Callable[[], None] = lambda: None,
    on_note: Callable[[str], None] = lambda sentence: None,
    trainable: Callable[..., None] = train_under_tune,
    reuse_processes: bool = True,
) -> None:
    """Runs everything that the driver hands out in one Ray Tune run.

    Args:
        driver: of the search.
        data: what the trials share.
        storage: folder of checkpoints.
        cpus_per_trial: CPU threads of a trial.
        gpus_per_trial: share of a GPU of a trial.
        max_concurrent: trials at once; None for as many as fit.
        time_budget: seconds after which the run ends and leaves its trials in flight.
        address: of Ray, as in :func:`harness.cluster.connect.connect`.
        on_step: called again and again, to draw the progress.
        on_note: called with what the user should know of the cluster's nodes.
        trainable: what trains; a benchmark gives its own.
        reuse_processes: keep the processes from trial to trial.

    Raises:
        UsageError: the cluster cannot be joined, or a node cannot write the storage folder.
    """
    data = _absolute(data)
    storage = storage.resolve()
    attached = connect(address)
    check_fits(cpus_per_trial, gpus_per_trial, attached, on_note)
    if attached:
        root = data.index.root
        for note in node_notes(probe_nodes(storage, root), storage, root):
            on_note(note)

    def limit() -> int:
        resources = ray.cluster_resources()
        fit = int(resources.get("CPU", 1) // cpus_per_trial)
        if gpus_per_trial > 0:
            fit = min(fit, int(resources.get("GPU", 0) / gpus_per_trial))
        return max(1, fit if max_concurrent is None else min(fit, max_concurrent))

    run = RunInfo(storage, uuid.uuid4().hex[:12])
    with tempfile.TemporaryDirectory(prefix="harness-tune-") as litter:
        Tuner(
            tune.with_resources(
                tune.with_parameters(trainable, data=data, run=run),
                {"cpu": cpus_per_trial, "gpu": gpus_per_trial},
            ),
            tune_config=TuneConfig(
                search_alg=_Proposals(driver, limit),
                scheduler=_EarlyStopping(driver),
                num_samples=-1,
                reuse_actors=reuse_processes,
                trial_name_creator=lambda trial: trial.trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=RunConfig(
                name="search",
                storage_path=litter,
                verbose=0,
                callbacks=[_Reports(driver, on_step)],
                stop=None if time_budget is None else TimeoutStopper(time_budget),
                failure_config=FailureConfig(max_failures=RETRIES),
                # Checkpoints are the trial's own (harness.training.checkpoint).
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    driver.halted = bool(driver.running or driver.missing)


def check_fits(cpus: int, gpus: float, attached: bool, on_note: Callable[[str], None]) -> None:
    """Refuses a trial that no machine can hold: Ray would wait for one without a word.

    A cluster that one attached to may still grow, so there it is a note.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        return
    most = {kind: max(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU")}
    has = f"{most['CPU']:g} processors and {most['GPU']:g} GPUs"
    asked = f"--cpus-per-trial {cpus}" + (f" --gpus-per-trial {gpus:g}" if gpus else "")
    if attached:
        on_note(f"No node of the cluster has room for {asked} (the largest has {has}): waiting.")
        return
    raise UsageError(f"This machine has {has}, too few for {asked}: ask for less.")


def _absolute(data: TrialData) -> TrialData:
    """The same folders by names that hold in every process, whatever its working folder."""
    index = replace(data.index, root=data.index.root.resolve())
    return replace(data, index=index, cache_dir=data.cache_dir.resolve())
