"""The body of ``harness.train``: one trial in this process, without Ray."""

from rich.console import Console

from harness.command_line import DONE, TRIAL_FAILED
from harness.commands.progress import metric_table, show_seconds, show_settings
from harness.commands.search import command_line, show_prepared, write_config
from harness.config import TrialConfig
from harness.errors import UsageError
from harness.leaderboard.failures import FailureLedger
from harness.leaderboard.schema import metric_names
from harness.options import TrainOptions
from harness.plan.studies import Prepared, prepare_studies
from harness.records import TrialRecord, ends
from harness.search.book import joined, opened
from harness.selection.protocols import oracle_value
from harness.training.checkpoint import TrialFiles
from harness.training.run_trial import run_trial
from harness.versions import git_commit


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
    config = prepared.plans[0].first_trial(prepared.pairs[0])
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
    metric = prepared.context.first_metric
    console.print(
        f"{'-'.join(config.pair)}  {config.study.method}  "
        f"{show_settings(config.params, sorted(config.params))}",
        soft_wrap=True,
    )

    def show(record: TrialRecord) -> None:
        epoch = opened(record.epochs[max(record.epochs)])
        parts = [
            f"epoch {epoch.epoch:>3}/{config.study.epochs}",
            f"{config.study.objective} {epoch.objective:.3f}",
            f"{metric} {oracle_value(epoch, metric):.1f}",
        ]
        if epoch.losses:
            parts.append(f"loss {epoch.losses['total']:.4f}")
        console.print("  ".join([*parts, show_seconds(epoch.seconds)]), soft_wrap=True)

    files = TrialFiles(prepared.store.root / "picks")
    report = run_trial(config, prepared.data, show, files)
    record = joined(TrialRecord(config=config), report)
    record.command_line, record.git_commit = command_line(), git_commit()
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
