"""The book of one study on one pair: what waits, what runs, what has ended.

It stands in files: a note in ``in_flight`` for every trial that was handed out, and a Parquet file
for every one that ended. A killed driver leaves both behind; the next run of the same command opens
the book again and hands out first what was left half done.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from harness.config import Pair, TrialConfig, to_json, trial_from_json
from harness.datasets.scenario import pair_slug
from harness.evaluation.vault import unseal
from harness.leaderboard.store import ResultsStore
from harness.plan.study_plan import StudyPlan
from harness.records import EpochRecord, TrialRecord
from harness.whole_files import replacing


class PairBook:
    """The trials of one study on one pair, by number.

    Attributes:
        plan: the study.
        pair: the pair.
        waiting: trials to hand out before any other: left half done, or failed and to be retried.
        running: trials handed out and not ended, as far as they have reported.
        ended: trials that ended, in this run or an earlier one.
    """

    def __init__(
        self,
        store: ResultsStore,
        plan: StudyPlan,
        pair: Pair,
        ended: Iterable[TrialRecord] = (),
        *,
        retry_failed: bool = False,
    ) -> None:
        """Opens the book.

        Args:
            store: the results folder.
            plan: the study.
            pair: the pair.
            ended: its trials that have a file.
            retry_failed: hand failed trials out again.
        """
        self.plan, self.pair = plan, pair
        self.running: dict[int, TrialRecord] = {}
        self.ended = {record.config.number: record for record in ended}
        self._store = store
        again = [r.config for r in self.ended.values() if retry_failed and r.status == "failed"]
        for config in again:
            del self.ended[config.number]
        waiting = {config.number: config for config in again}
        for config in self._left_half_done():
            if config.number in self.ended:
                # The driver died between writing the trial's file and forgetting the trial.
                self._note(config).unlink(missing_ok=True)
            else:
                waiting.setdefault(config.number, config)
        self.waiting = [waiting[number] for number in sorted(waiting)]

    @property
    def taken(self) -> int:
        """Trials that have ended or run."""
        return len(self.ended) + len(self.running)

    @property
    def in_order(self) -> list[TrialRecord]:
        """The ended trials, by number."""
        return [self.ended[number] for number in sorted(self.ended)]

    def hand_out(self, config: TrialConfig) -> TrialConfig:
        """Notes a trial as running, before it is given away."""
        with replacing(self._note(config)) as temporary:
            temporary.write_text(to_json(config))
        self.running[config.number] = TrialRecord(config=config)
        return config

    def take(self, report: TrialRecord) -> TrialRecord:
        """Takes a report of a running trial over; returns all that is known of it."""
        number = report.config.number
        self.running[number] = joined(self.running[number], report)
        return self.running[number]

    def end(self, record: TrialRecord) -> None:
        """Writes the file of a trial that ran, and forgets that it does."""
        self._store.write_trial(record)
        self._note(record.config).unlink(missing_ok=True)
        self.running.pop(record.config.number, None)
        self.ended[record.config.number] = record

    def peers(self, record: TrialRecord) -> list[TrialRecord]:
        """The other trials of the pair, ended or running."""
        everyone = [*self.ended.values(), *self.running.values()]
        return [other for other in everyone if other.config.number != record.config.number]

    def _left_half_done(self) -> list[TrialConfig]:
        mine = f"{self.plan.config.study_id}.{pair_slug(*self.pair)}."
        return [
            trial_from_json(path.read_text())
            for path in sorted((self._store.root / "in_flight").glob("*.json"))
            if path.name.startswith(mine)
        ]

    def _note(self, config: TrialConfig) -> Path:
        return self._store.root / "in_flight" / f"{config.trial_id}.json"


def joined(record: TrialRecord, report: TrialRecord) -> TrialRecord:
    """What is known of a running trial after a report of it.

    Args:
        record: as known so far.
        report: as it came from the trial, with new epochs or after a restart with all of them; an
            epoch that is known already is replaced. The driver alone opens its sealed metrics.
    """
    epochs = record.epochs | {epoch: opened(e) for epoch, e in report.epochs.items()}
    return replace(report, epochs=epochs, attempts=record.attempts)


def opened(epoch: EpochRecord) -> EpochRecord:
    """An epoch's record with its sealed metrics opened."""
    return replace(
        epoch,
        metrics=unseal(epoch.sealed) if epoch.sealed else epoch.metrics,
        pooled_metrics=unseal(epoch.sealed_pooled) if epoch.sealed_pooled else epoch.pooled_metrics,
        sealed="",
        sealed_pooled="",
    )
