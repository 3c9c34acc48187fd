"""The one way to run a trial, in a worker of Ray Tune, under ``harness.train`` and in a replay."""

from collections.abc import Callable

import torch

from harness.config import TrialConfig, to_json
from harness.datasets.registry import ensure_generated
from harness.records import TrialRecord
from harness.training.checkpoint import TrialFiles, load_checkpoint, save_checkpoint, save_snapshots
from harness.training.scored_trial import ScoredTrial, TrialData

OnReport = Callable[[TrialRecord], object]


def run_trial(
    config: TrialConfig,
    data: TrialData,
    on_report: OnReport = lambda record: False,
    files: TrialFiles | None = None,
) -> TrialRecord:
    """Trains a trial to its end, or until it is stopped.

    Args:
        config: the trial.
        data: the data set, decoded.
        on_report: called with the growing record after the untrained state and after every epoch,
            after the last one with its status set; a true answer stops the trial early.
        files: where checkpoints and snapshots go; None keeps nothing. A checkpoint that is there
            is gone on from: the first report then brings all epochs so far.

    Returns:
        The record, its metrics still sealed: ``finished``, ``pruned`` where it was stopped, or
        ``failed`` with the error, which is not raised.
    """
    record = TrialRecord(config=config)
    try:
        _train(record, data, on_report, files)
    except Exception as error:
        # Whatever stops a training is what became of the trial.
        record.fail(error)
    record.conclude()
    return record


def _train(
    record: TrialRecord, data: TrialData, on_report: OnReport, files: TrialFiles | None
) -> None:
    ensure_generated(data.index, data.cache_dir)
    gpu = record.config.study.device_type == "cuda"
    trial = ScoredTrial(record.config, data, torch.device("cuda" if gpu else "cpu"))
    trial.describe(record)
    state = None if files is None else load_checkpoint(files.folder)
    if state is not None:
        trial.load_state_dict(state)
    while True:
        if state is None or not trial.done:
            trial.next_report()
        state = None
        record.epochs = {report.epoch: report for report in trial.history}
        if trial.done or record.first_non_finite:
            if files is not None and not record.first_non_finite:
                _save_snapshots(trial, files)
            if record.config.confirms:
                record.queries = trial.sealed_queries()
            record.conclude()
        elif files is not None and files.run_token:
            save_checkpoint(trial.state_dict(), files.folder, files.run_token, trial.training.epoch)
        if on_report(record) or record.status != "running":
            return


def _save_snapshots(trial: ScoredTrial, files: TrialFiles) -> None:
    snapshots = {
        f"{trial.config.trial_id}@{epoch}": snapshot
        for epoch, snapshot in trial.keeper.by_epoch().items()
    }
    notes = {"config_json": to_json(trial.config)}
    save_snapshots(snapshots, files.folder, trial.encoder_settings, notes)
