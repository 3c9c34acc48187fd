"""The body of ``harness.train``: one trial in this process, without Ray."""

import torch
from rich.console import Console

from harness.command_line import DONE, TRIAL_FAILED
from harness.config import TrainOptions, TrialConfig, to_json
from harness.errors import UsageError
from harness.leaderboard.failures import FailureLedger
from harness.leaderboard.protocols import oracle_value
from harness.leaderboard.schema import metric_names
from harness.records import TrialRecord, ends
from harness.search.driver import non_finite_objective, opened, status_of
from harness.search.failure import Failure
from harness.search.progress import metric_table, show_seconds, show_settings
from harness.search.run import show_prepared, write_config
from harness.search.studies import Prepared, prepare_studies
from harness.search.trial_configs import first_config
from harness.training.checkpoint import save_snapshots
from harness.training.scored_trial import ScoredTrial


def run_train_command(options: TrainOptions, console: Console) -> int:
    """Trains and shows each epoch; returns the exit code."""
    with console.status("Reading the data set") as status:
        prepared = prepare_studies(
            options,
            trials=1,
            sampler="none",
            both_ways=False,
            progress=status.update,
        )
    show_prepared(prepared, console)
    if len(prepared.pairs) != 1 or len(prepared.plans) != 1:
        raise UsageError(
            "harness.train trains one pair and one method; name them with --pairs A-B and "
            "--method NAME."
        )
    config = first_config(prepared.plans[0], prepared.pairs[0])
    prepared.store.open_for_writing(prepared.data.index)
    try:
        write_config(options, prepared)
        record = _train(config, prepared, console)
        prepared.store.write_trial(record)
        study_id = config.study.study_id
        ledger = FailureLedger(prepared.store, [study_id])
        ledger.write(prepared.store.read_trials([study_id]))
    finally:
        prepared.store.close()
    return _show_outcome(record, prepared, console)


def _train(config: TrialConfig, prepared: Prepared, console: Console) -> TrialRecord:
    record = TrialRecord(config=config)
    metric = prepared.context.first_metric
    console.print(
        f"{'-'.join(config.pair)}  {config.study.method}  "
        f"{show_settings(config.params, sorted(config.params))}",
        soft_wrap=True,
    )
    try:
        device = torch.device(config.study.device_type)
        trial = ScoredTrial(config, prepared.data, device)
        about = trial.about()
        record.host, record.device = about.host, about.device
        record.batch_size, record.notes = about.batch_size, about.notes
        record.versions = about.versions
        while not (trial.done or non_finite_objective(record)):
            report = opened(trial.next_report())
            record.epochs[report.epoch] = report
            parts = [
                f"epoch {report.epoch:>3}/{config.study.epochs}",
                f"{config.study.objective} {report.objective:.3f}",
                f"{metric} {oracle_value(report, metric):.1f}",
            ]
            if report.losses:
                parts.append(f"loss {report.losses['total']:.4f}")
            console.print("  ".join([*parts, show_seconds(report.seconds)]), soft_wrap=True)
        failure = non_finite_objective(record)
        if failure is None:
            kept = trial.keeper.by_epoch()
            save_snapshots(
                {f"{config.trial_id}@{epoch}": held for epoch, held in kept.items()},
                prepared.store.root / "picks",
                {"config_json": to_json(config)},
            )
    except Exception as error:
        # Whatever stops a training is recorded as what became of the trial.
        failure = Failure.of(error)
    record.status = status_of(record, failure)
    if failure is not None:
        record.error_type, record.error_last_line = failure.type, failure.last_line
        record.error_frame, record.error_trace = failure.frame, failure.trace
    return record


def _show_outcome(record: TrialRecord, prepared: Prepared, console: Console) -> int:
    names = metric_names(prepared.store.ks)
    reports = [record.epochs[epoch] for epoch in sorted(record.epochs)]
    for direction in record.directions if reports else ():
        query, gallery = ends(record.config.pair, direction)
        columns = {
            f"epoch {report.epoch}": report.metrics[direction]
            for report in (reports[:1] + reports[1:][-1:])
        }
        console.print()
        console.print(metric_table(f"{query} → {gallery}", columns, names))
    if record.status == "failed":
        console.print(
            f"{record.error_type}: {record.error_last_line}"
            + (f" (at {record.error_frame})" if record.error_frame else ""),
            style="red",
            markup=False,
            soft_wrap=True,
        )
    console.print(f"Trial file: {prepared.store.trial_path(record.config)}", soft_wrap=True)
    return DONE if record.status == "finished" else TRIAL_FAILED
