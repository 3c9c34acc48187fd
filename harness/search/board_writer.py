"""Writes the leaderboards of a running search, from memory."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.datasets.contract import DatasetIndex
from harness.evaluation.vault import unseal
from harness.leaderboard.board import BoardContext, chance_row, merge_rows, study_rows
from harness.leaderboard.confirmed import confirm_rows
from harness.leaderboard.store import ResultsStore
from harness.records import TrialRecord, ends, scored_directions
from harness.search.confirmation import ConfirmationQueue
from harness.search.dataset_search import DatasetSearch
from harness.search.pair_search import PairSearch
from harness.search.study_ledgers import StudyLedgers
from harness.training.scored_trial import pair_vault

Pair = tuple[str, str]
Search = PairSearch | DatasetSearch


class BoardWriter:
    """Makes the rows of this run's studies anew and keeps those of all others.

    A board is read once and then held: the driver has the lock of the results folder, so that
    nobody else writes it.

    Args:
        store: the results folder, open for writing.
        index: the data set, for the chance rows.
        context: what a row needs beside its trial.
        ledgers: give the transfer picks.
        confirmations: give the figures of fresh seeds.
    """

    def __init__(
        self,
        store: ResultsStore,
        index: DatasetIndex,
        context: BoardContext,
        ledgers: StudyLedgers,
        confirmations: ConfirmationQueue,
    ) -> None:
        self._store = store
        self._index = index
        self._context = context
        self._ledgers = ledgers
        self._confirmations = confirmations
        self._chance: dict[Pair, Mapping[str, Mapping[str, float]]] = {}
        self._boards: dict[Pair, list[dict[str, Any]]] = {}

    def write_pair(self, pair: Pair, searches: Sequence[Search]) -> None:
        """Writes the boards of a pair's directions.

        Args:
            pair: the pair.
            searches: those that search it, one at least.
        """
        study = searches[0].plan.config
        chance = self._chance_of(pair, searches[0])
        for direction in scored_directions(study.scenario):
            rows = [chance_row(study, pair, direction, chance[direction], self._context)]
            for search in searches:
                study_id = search.plan.config.study_id
                trials = ordered(search.records[pair].values())
                rows += self._study_rows(study_id, pair, trials, direction, search.winner)
            self._merge(*ends(pair, direction), rows)

    def write_elsewhere(self, pair: Pair, records: Iterable[TrialRecord]) -> None:
        """The rows of this run's studies on a pair that it did not search.

        Args:
            pair: the pair.
            records: ended trials of these studies on it.
        """
        by_study: dict[str, list[TrialRecord]] = {}
        for record in records:
            if record.config.study.scope == "pair":
                by_study.setdefault(record.config.study.study_id, []).append(record)
        if not by_study:
            return
        scenario = next(iter(by_study.values()))[0].config.study.scenario
        for direction in scored_directions(scenario):
            rows = []
            for study_id, trials in by_study.items():
                rows += self._study_rows(study_id, pair, ordered(trials), direction)
            self._merge(*ends(pair, direction), rows)

    def _study_rows(
        self,
        study_id: str,
        pair: Pair,
        trials: Sequence[TrialRecord],
        direction: str,
        winner: int | None = None,
    ) -> list[dict[str, Any]]:
        """Rows of a study, with the figures of fresh seeds where its picks were confirmed."""
        transfer = self._ledgers.transfer(study_id, pair)
        return confirm_rows(
            study_rows(trials, direction, self._context, transfer, winner),
            self._confirmations.fresh(study_id, pair),
            direction,
            first_metric=self._context.first_metric,
            primary_metric=self._context.primary_metric,
        )

    def _merge(self, query: str, gallery: str, rows: Sequence[Mapping[str, Any]]) -> None:
        way = (query, gallery)
        before = self._boards.get(way)
        if before is None:
            before = self._store.read_board(query, gallery)
        self._boards[way] = merge_rows(before, rows, self._context.primary_metric)
        self._store.write_board(query, gallery, self._boards[way])

    def _chance_of(self, pair: Pair, search: Search) -> Mapping[str, Mapping[str, float]]:
        if pair not in self._chance:
            vault = pair_vault(self._index, search.plan.config, pair)
            self._chance[pair] = unseal(vault.chance())
        return self._chance[pair]


def ordered(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Trials of a study on a pair, by number."""
    return sorted(records, key=lambda record: record.config.number)
