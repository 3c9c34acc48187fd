"""What a driver keeps that rests on many trials: transfer picks, judged validators, failures."""

import time
from collections.abc import Iterable, Sequence

from harness.leaderboard.failures import FailureLedger
from harness.leaderboard.judging import judge_study, write_judges
from harness.leaderboard.protocols import Pick
from harness.leaderboard.start_trials import Pair, StartTrials
from harness.leaderboard.store import ResultsStore
from harness.leaderboard.transfer import TransferPicks
from harness.records import TrialRecord

JUDGE_INTERVAL = 30.0
"""Seconds between two writes of ``validators.parquet`` while the search runs: 30 pairs take one."""


class StudyLedgers:
    """Kept up to date at every trial's end.

    Args:
        store: the results folder.
        pairs: (study id, pair) of the present run.
        ended: ended trials of these studies, on whichever pair.
        first_metric: the data set's first P@k.
    """

    def __init__(
        self,
        store: ResultsStore,
        pairs: Sequence[tuple[str, Pair]],
        ended: Iterable[TrialRecord],
        first_metric: str,
    ) -> None:
        records = list(ended)
        self._store = store
        self._first_metric = first_metric
        self._start = StartTrials(pairs, records)
        self._transfer = TransferPicks(self._start, first_metric)
        self._failed = {
            record.config.trial_id: record for record in records if record.status == "failed"
        }
        self._failures = FailureLedger(store, self._start.study_ids)
        self._unjudged = set(self._start.study_ids)
        self._failures_changed = True
        self._judged = 0.0

    def end(self, record: TrialRecord) -> None:
        """Takes an ended trial over, after its file was written."""
        if self._start.add(record):
            self._transfer.start_trial_ended(record)
            self._unjudged.add(record.config.study.study_id)
        trial_id = record.config.trial_id
        if record.status == "failed":
            self._failed[trial_id] = record
            self._failures_changed = True
        elif self._failed.pop(trial_id, None) is not None:
            self._failures_changed = True
        if self._failures_changed:
            self._write_failures()

    def transfer(self, study_id: str, pair: Pair) -> list[Pick]:
        """The transfer pick of a study on a pair: one, or none."""
        return self._transfer.of(study_id, pair)

    def changed_transfers(self) -> set[tuple[str, Pair]]:
        """(study id, pair) whose transfer pick another pair's trials have changed."""
        return self._transfer.refreshed()

    def write(self, *, at_once: bool = False) -> None:
        """Writes ``validators.parquet`` and ``failures.parquet`` where something changed.

        Args:
            at_once: judge the validators even if they were judged a moment ago.
        """
        if self._unjudged and (at_once or time.monotonic() - self._judged > JUDGE_INTERVAL):
            rows = [
                row
                for study_id in sorted(self._unjudged)
                for row in judge_study(self._start.by_pair(study_id), self._first_metric)
            ]
            write_judges(self._store.root, self._unjudged, rows)
            self._unjudged = set()
            self._judged = time.monotonic()
        if self._failures_changed:
            self._write_failures()

    def _write_failures(self) -> None:
        self._failures.write(self._failed.values())
        self._failures_changed = False
