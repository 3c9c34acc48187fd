"""The driver of a search: walks over the books, hands trials out, takes their reports and ends.

It knows nothing of Ray; :mod:`harness.cluster.tune_run` connects it to Tune, tests drive it by
hand. Order at a trial's end: its Parquet file, then the sampler, then boards and ``study.db``.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.config import Pair, TrialConfig
from harness.datasets.contract import DatasetIndex
from harness.datasets.scenario import pair_slug
from harness.leaderboard.board import BoardContext
from harness.leaderboard.board_writer import BoardWriter, StudyTrials
from harness.leaderboard.mirror import StudyMirror
from harness.leaderboard.picks import keep_picks
from harness.leaderboard.store import ResultsStore
from harness.plan.samplers import directions
from harness.plan.study_plan import StudyPlan
from harness.records import TrialRecord
from harness.search.book import PairBook
from harness.search.confirmation import Confirmations
from harness.search.dataset_scope import DatasetScope
from harness.search.early_stopping import should_stop
from harness.search.pair_scope import PairScope
from harness.statistics.query_files import write_queries
from harness.training.checkpoint import drop_trial, trial_folder

BOARD_INTERVAL = 3.0
"""Seconds between two writes of leaderboards while the search runs, at least."""

BOARD_SHARE = 0.1
"""Largest share of the time that goes into leaderboards while the search runs."""


Scope = PairScope | DatasetScope


class SearchDriver:
    """A search over studies and pairs.

    Attributes:
        store: the results folder.
        scopes: one per study and pair, or under ``--scope dataset`` one per study.
        ended_now: records of the trials that ended in this run, in order.
        halted: the run ended before its trials did; what ran stays in flight for the next one.
        on_end: called with each record that ended.
    """

    def __init__(
        self,
        plans: Sequence[StudyPlan],
        pairs: Sequence[Pair],
        index: DatasetIndex,
        store: ResultsStore,
        storage: Path,
        context: BoardContext,
        *,
        on_end: Callable[[TrialRecord], None] = lambda record: None,
        retry_failed: bool = False,
        confirm: int = 0,
        command_line: str = "",
        git_commit: str = "",
    ) -> None:
        self.store, self.on_end = store, on_end
        self.ended_now: list[TrialRecord] = []
        self.halted = False
        self._index, self._storage, self._context = index, storage, context
        self._command = command_line, git_commit
        ids = [plan.config.study_id for plan in plans]
        records = store.read_trials(ids)
        self.scopes = open_scopes(plans, pairs, store, records, retry_failed=retry_failed)
        self._scopes = {(s.plan.config.study_id, b.pair): s for s in self.scopes for b in s.books}
        self._elsewhere = [record for record in records if record.config.pair not in pairs]
        confirmed = store.read_trials(ids, kind="confirmations")
        self._confirmations = Confirmations(confirm, confirmed, retry_failed=retry_failed)
        self._boards = BoardWriter(store, index, context, list(self._scopes), self._known())
        self._mirror = StudyMirror(store.root / "study.db")
        self._dirty, self._boards_due = set(pairs), 0.0
        self._unplanned = list(self.scopes) if confirm else []
        self._plan_confirmations()

    @property
    def books(self) -> list[PairBook]:
        """The books of all studies and pairs."""
        return [book for scope in self.scopes for book in scope.books]

    @property
    def missing(self) -> int:
        """Trials still to hand out."""
        return sum(scope.missing for scope in self.scopes) + len(self._confirmations.waiting)

    @property
    def more_to_come(self) -> bool:
        """Whether there will be trials to hand out though there may be none now."""
        return bool(self.missing or self._unplanned)

    @property
    def running(self) -> int:
        """Trials handed out that have not ended."""
        return sum(len(book.running) for book in self.books) + len(self._confirmations.running)

    @property
    def total(self) -> int:
        """Trials this search goes to, over all studies and pairs."""
        return self.ended + self.running + self.missing

    @property
    def ended(self) -> int:
        """Trials that ended, in this run or an earlier one."""
        return sum(len(book.ended) for book in self.books) + self._confirmations.done

    def next_trial(self) -> TrialConfig | None:
        """The next trial of the scope that is furthest behind; None once all are handed out."""
        waiting = [scope for scope in self.scopes if scope.missing]
        for scope in sorted(waiting, key=lambda scope: scope.behind):
            config = scope.next_trial()
            if config is not None:
                return self._book_of(config).hand_out(config)
        self._plan_confirmations()
        return self._confirmations.hand_out()

    def report(self, report: TrialRecord) -> bool:
        """Takes a report of a running trial; an epoch replaces an earlier report of it.

        Args:
            report: with the new epochs, or after a restart from a checkpoint all so far.

        Returns:
            Whether the trial is to be stopped early.
        """
        if report.config.confirms:
            return bool(self._confirmations.take(report).first_non_finite)
        book = self._book_of(report.config)
        return should_stop(book.take(report), book.peers(report), report.epochs)

    def restarted(self, config: TrialConfig) -> None:
        """Notes that a trial was started again after a failure."""
        self._running_record(config).attempts += 1

    def end(self, config: TrialConfig, lost: TrialRecord | None = None) -> TrialRecord:
        """Ends a trial.

        Args:
            config: of the trial.
            lost: of a trial whose process raised or was lost, with the error in it.
        """
        scope = self._scopes[config.study.study_id, config.pair]
        record = self._running_record(config)
        if lost is not None:
            record.take_error(lost)
        record.conclude()
        record.command_line, record.git_commit = self._command
        if config.confirms:
            self._end_confirmation(record)
        else:
            self._book_of(config).end(record)
            scope.end(record)
        self._boards.add(record)
        self._dirty |= {book.pair for book in scope.books}
        self.ended_now.append(record)
        self.on_end(record)
        if record.status == "failed":
            self._boards.write_ledgers()
        if time.monotonic() >= self._boards_due:
            self.write_boards()
        return record

    def write_boards(self) -> None:
        """Writes what changed since the last time: boards, ``study.db``, validators, failures."""
        started = time.monotonic()
        self._dirty |= self._boards.pairs_with_new_transfer() & {book.pair for book in self.books}
        for pair in sorted(self._dirty):
            books = [book for book in self.books if book.pair == pair]
            self._boards.write_pair([self._trials_of(book) for book in books])
            for book in books:
                study = book.plan.config
                name = f"{study.study_id}/{pair_slug(*pair)}"
                self._mirror.write(name, directions(study.sampler), book.plan.space, book.ended)
        self._dirty.clear()
        self._boards.write_ledgers()
        now = time.monotonic()
        self._boards_due = now + max(BOARD_INTERVAL, (now - started) / BOARD_SHARE)

    def finish(self) -> None:
        """Writes everything anew at the end of a run, however it ended.

        Boards of pairs that this run did not search may take ``transfer`` settings from it. Once
        nothing is missing, weights that no pick chose are deleted.
        """
        self._dirty |= {book.pair for book in self.books}
        self.write_boards()
        self._boards.write_ledgers(at_once=True)
        for pair in sorted({record.config.pair for record in self._elsewhere}):
            trials = self._trials_elsewhere(pair)
            if trials:
                self._boards.write_pair(trials)
        for book in self.books:
            keep_picks(
                self.store.root / "picks",
                self._storage,
                self._boards.picks(self._trials_of(book)),
                book.in_order,
                is_over=not self.missing and not self.running,
            )

    def _end_confirmation(self, record: TrialRecord) -> None:
        if record.status == "finished" and record.queries:
            metric = self._context.first_metric
            write_queries(self.store.root, self._index, record, record.queries, metric)
        # After the queries: a confirmation whose trial file stands is never done again.
        self.store.write_trial(record)
        self._confirmations.end(record)
        drop_trial(trial_folder(self._storage, record.config.trial_id))

    def _plan_confirmations(self) -> None:
        """Plans those of scopes that have ended; ``transfer`` picks need a whole study's end."""

        def is_open(scope: Scope) -> bool:
            return bool(scope.missing or any(book.running for book in scope.books))

        for scope in [scope for scope in self._unplanned if not is_open(scope)]:
            self._unplanned.remove(scope)
            study_id = scope.plan.config.study_id
            study = [s for s in self.scopes if s.plan.config.study_id == study_id]
            is_whole = not any(s in self._unplanned for s in study)
            for book in scope.books:
                chosen = self._boards.picks(self._trials_of(book))
                of_pair = [pick for pick in chosen if not pick.transfer_from]
                self._confirmations.plan(pick.trial.config for pick in of_pair)
            for book in [book for s in study if is_whole for book in s.books]:
                chosen = self._boards.transfer_picks(study_id, book.pair)
                self._confirmations.plan(pick.trial.config for pick in chosen)

    def _trials_of(self, book: PairBook) -> StudyTrials:
        study = book.plan.config
        return StudyTrials(
            study=study,
            pair=book.pair,
            trials=book.in_order,
            chosen_among=self._scopes[study.study_id, book.pair].chosen_among(book),
            fresh=self._confirmations.fresh(study.study_id, book.pair),
        )

    def _trials_elsewhere(self, pair: Pair) -> list[StudyTrials]:
        """The trials of this run's studies on a pair that it did not search."""
        by_study: dict[str, list[TrialRecord]] = {}
        for record in sorted(self._elsewhere, key=lambda record: record.config.number):
            # Under --scope dataset only the pairs of a run decide together.
            if record.config.pair == pair and record.config.study.scope == "pair":
                by_study.setdefault(record.config.study.study_id, []).append(record)
        return [
            StudyTrials(
                study=trials[0].config.study,
                pair=pair,
                trials=trials,
                chosen_among=trials,
                fresh=self._confirmations.fresh(study_id, pair),
            )
            for study_id, trials in by_study.items()
        ]

    def _book_of(self, config: TrialConfig) -> PairBook:
        scope = self._scopes[config.study.study_id, config.pair]
        return next(book for book in scope.books if book.pair == config.pair)

    def _known(self) -> list[TrialRecord]:
        """Everything that has ended of this run's studies, on whichever pair."""
        ended = [record for book in self.books for record in book.in_order]
        return [*ended, *self._elsewhere, *self._confirmations.ended.values()]

    def _running_record(self, config: TrialConfig) -> TrialRecord:
        if config.confirms:
            return self._confirmations.running[config.trial_id]
        return self._book_of(config).running[config.number]


def open_scopes(
    plans: Sequence[StudyPlan],
    pairs: Sequence[Pair],
    store: ResultsStore,
    records: Sequence[TrialRecord],
    *,
    retry_failed: bool,
) -> list[Scope]:
    """Opens the books of all studies and pairs, and what searches them."""
    ended: dict[tuple[str, Pair], list[TrialRecord]] = {}
    for record in records:
        key = (record.config.study.study_id, record.config.pair)
        ended.setdefault(key, []).append(record)
    scopes: list[Scope] = []
    for plan in plans:
        books = [
            PairBook(
                store,
                plan,
                pair,
                ended.get((plan.config.study_id, pair), ()),
                retry_failed=retry_failed,
            )
            for pair in pairs
        ]
        if plan.config.scope == "dataset":
            scopes.append(DatasetScope(books))
        else:
            scopes += [PairScope(book) for book in books]
    return scopes
