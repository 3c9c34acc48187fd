"""Writes what a search leaves beside its trial files: boards, judged validators, failures."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.config import Pair, StudyConfig
from harness.datasets.contract import DatasetIndex
from harness.evaluation.vault import unseal
from harness.leaderboard.board import BoardContext, chance_row, merge_rows, study_rows
from harness.leaderboard.failures import FailureLedger
from harness.leaderboard.store import ResultsStore
from harness.records import TrialRecord, ends, scored_directions
from harness.selection.confirmed import confirm_rows
from harness.selection.protocols import Pick, picks
from harness.selection.start_trials import StartTrials
from harness.selection.transfer import TransferPicks
from harness.statistics.judging import judge_study, write_judges
from harness.training.scored_trial import pair_vault

JUDGE_INTERVAL = 30.0
"""Seconds between two writes of ``validators.parquet`` while the search runs: 30 pairs take one."""


@dataclass(frozen=True, kw_only=True)
class StudyTrials:
    """The ended trials of one study on one pair.

    Attributes:
        study: the study.
        pair: the pair.
        trials: by number.
        chosen_among: see :func:`harness.selection.protocols.picks`.
        fresh: by trial id of a pick its finished trainings with fresh seeds.
    """

    study: StudyConfig
    pair: Pair
    trials: Sequence[TrialRecord]
    chosen_among: Sequence[TrialRecord]
    fresh: Mapping[str, Sequence[TrialRecord]]


class BoardWriter:
    """Makes the rows of this run's studies anew and keeps those of all others.

    A board is read once and then kept: the driver has the lock of the results folder, so that
    nobody else writes it.

    Args:
        store: the results folder, open for writing.
        index: the data set, for the chance rows.
        context: what a row needs beside its trial.
        studies: (study id, pair) of the present run.
        ended: ended trials and confirmations of these studies, on whichever pair.
    """

    def __init__(
        self,
        store: ResultsStore,
        index: DatasetIndex,
        context: BoardContext,
        studies: Sequence[tuple[str, Pair]],
        ended: Iterable[TrialRecord],
    ) -> None:
        self._store, self._index, self._context = store, index, context
        self._start = StartTrials(studies)
        self._transfer = TransferPicks(self._start, context.first_metric)
        self._failures = FailureLedger(store, self._start.study_ids)
        self._failed: dict[str, TrialRecord] = {}
        self._boards: dict[Pair, list[dict[str, Any]]] = {}
        self._chance: dict[Pair, Mapping[str, Mapping[str, float]]] = {}
        self._unjudged = set(self._start.study_ids)
        self._judged = 0.0
        self._failures_changed = True
        for record in ended:
            self.add(record)

    def add(self, record: TrialRecord) -> None:
        """Takes an ended trial or confirmation over."""
        trial_id = record.config.trial_id
        if record.status == "failed":
            self._failed[trial_id] = record
            self._failures_changed = True
        elif self._failed.pop(trial_id, None):
            self._failures_changed = True
        if not record.config.confirms and self._start.add(record):
            self._transfer.start_trial_ended(record)
            self._unjudged.add(record.config.study.study_id)

    def pairs_with_new_transfer(self) -> set[Pair]:
        """Pairs whose ``transfer`` pick the trials of other pairs have changed."""
        return {pair for _, pair in self._transfer.refreshed()}

    def transfer_picks(self, study_id: str, pair: Pair) -> list[Pick]:
        """The ``transfer`` pick of a study on a pair: one, or none."""
        return self._transfer.of(study_id, pair)

    def picks(self, trials: StudyTrials) -> list[Pick]:
        """Every pick of a study on a pair."""
        return [
            *picks(trials.trials, self._context.first_metric, trials.chosen_among),
            *self.transfer_picks(trials.study.study_id, trials.pair),
        ]

    def write_pair(self, studies: Sequence[StudyTrials]) -> None:
        """Writes the boards of a pair's directions.

        Args:
            studies: of one pair and scenario, one at least.
        """
        pair, study = studies[0].pair, studies[0].study
        if pair not in self._chance:
            self._chance[pair] = unseal(pair_vault(self._index, study, pair).chance())
        for direction in scored_directions(study.scenario):
            chance = self._chance[pair][direction]
            rows = [chance_row(study, pair, direction, chance, self._context)]
            for trials in studies:
                rows += self._rows(trials, direction)
            query, gallery = way = ends(pair, direction)
            before = self._boards.get(way)
            if before is None:
                before = self._store.read_board(query, gallery)
            self._boards[way] = merge_rows(before, rows, self._context.primary_metric)
            self._store.write_board(query, gallery, self._boards[way])

    def write_ledgers(self, *, at_once: bool = False) -> None:
        """Writes ``validators.parquet`` and ``failures.parquet`` where something changed.

        Args:
            at_once: judge the validators even if they were judged a moment ago.
        """
        if self._unjudged and (at_once or time.monotonic() - self._judged > JUDGE_INTERVAL):
            rows = [
                row
                for study_id in sorted(self._unjudged)
                for row in judge_study(self._start.by_pair(study_id), self._context.first_metric)
            ]
            write_judges(self._store.root, self._unjudged, rows)
            self._unjudged = set()
            self._judged = time.monotonic()
        if self._failures_changed:
            self._failures.write(self._failed.values())
            self._failures_changed = False

    def _rows(self, trials: StudyTrials, direction: str) -> list[dict[str, Any]]:
        """Rows of a study, with the figures of fresh seeds where its picks were confirmed."""
        transfer = self.transfer_picks(trials.study.study_id, trials.pair)
        return confirm_rows(
            study_rows(trials.trials, direction, self._context, transfer, trials.chosen_among),
            trials.fresh,
            direction,
            first_metric=self._context.first_metric,
            primary_metric=self._context.primary_metric,
        )
