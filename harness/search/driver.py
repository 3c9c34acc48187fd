"""The driver of a search: hands trials out, takes their reports, writes what became of them.

It knows nothing of Ray; ``harness.search.ray_run`` connects it to Tune, tests drive it by hand.
Order at a trial's end: its Parquet file, then Optuna, then the leaderboard.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from harness.config import TrialConfig
from harness.datasets.contract import DatasetIndex
from harness.evaluation.vault import unseal
from harness.leaderboard.board import BoardContext
from harness.leaderboard.protocols import picks
from harness.leaderboard.query_files import write_queries
from harness.leaderboard.store import ResultsStore
from harness.records import EpochRecord, Status, TrialRecord
from harness.search.board_writer import BoardWriter, Pair, Search, ordered
from harness.search.confirmation import ConfirmationQueue
from harness.search.counterparts import Counterparts
from harness.search.dataset_search import DatasetSearch
from harness.search.early_stopping import first_non_finite, should_stop
from harness.search.failure import Failure
from harness.search.in_flight import InFlight
from harness.search.kept_picks import KeptPicks
from harness.search.pair_search import PairSearch
from harness.search.picked_files import PickedFiles
from harness.search.proposals import StudyPlan
from harness.search.study_ledgers import StudyLedgers
from harness.search.study_mirror import StudyMirror
from harness.search.warm_start import WarmStart
from harness.training.checkpoint import drop_trial, trial_folder
from harness.training.report import About, EpochReport

BOARD_INTERVAL = 3.0
"""Seconds between two writes of leaderboards while the search runs, at least."""

BOARD_SHARE = 0.1
"""Largest share of the time that goes into leaderboards while the search runs."""


class SearchDriver:
    """State of a search over studies and pairs.

    Attributes:
        searches: one per study and pair, or under ``--scope dataset`` one per study.
        ended_now: records of the trials that ended in this run, in order.
        halted: the run ended before its trials did; what ran stays in flight for the next one.
        on_end: called with each of them.
    """

    def __init__(
        self,
        plans: Sequence[StudyPlan],
        pairs: Sequence[Pair],
        index: DatasetIndex,
        store: ResultsStore,
        storage: Path,
        context: BoardContext,
        on_end: Callable[[TrialRecord], None] = lambda record: None,
        retry_failed: bool = False,
        confirm: int = 0,
    ) -> None:
        self.index = index
        self.store = store
        self.context = context
        self.on_end = on_end
        self.ended_now: list[TrialRecord] = []
        self.halted = False
        self._in_flight = InFlight(store.root)
        study_ids = [plan.config.study_id for plan in plans]
        ended = store.read_trials(study_ids)
        self._counterparts = Counterparts(store, storage, plans, pairs, context.first_metric)
        ended += self._counterparts.take(ended, self._in_flight.read(study_ids))
        ended_ids = {record.config.trial_id for record in ended}
        left = []
        if retry_failed:
            left = [r.config for r in ended if r.status == "failed" and r.config.pair in pairs]
            reopened = {config.trial_id for config in left}
            ended = [record for record in ended if record.config.trial_id not in reopened]
        confirmed = [
            record
            for record in store.read_trials(study_ids, kind="confirmations")
            if not (retry_failed and record.status == "failed")
        ]
        self._confirmations = ConfirmationQueue(confirm, confirmed)
        self._storage = storage
        self._queries: dict[str, dict[int, str]] = {}
        for config in self._in_flight.read(study_ids):
            if config.confirms:
                # Planned anew from the picks once the search has ended.
                if config.trial_id in {record.config.trial_id for record in confirmed}:
                    self._in_flight.remove(config)
                continue
            if config.trial_id in ended_ids - {held.trial_id for held in left}:
                # The driver died between writing the trial's file and forgetting the trial.
                self._in_flight.remove(config)
            elif config.trial_id not in {held.trial_id for held in left}:
                left.append(config)
        self._studies = StudyMirror(store.root / "study.db")
        keys = [(study_id, pair) for study_id in study_ids for pair in pairs]
        self._ledgers = StudyLedgers(store, keys, [*ended, *confirmed], context.first_metric)
        self._boards = BoardWriter(store, index, context, self._ledgers, self._confirmations)
        files = PickedFiles(store.root / "picks", storage)
        self._kept = KeptPicks(files, self._ledgers, context.first_metric)
        self._elsewhere = [record for record in ended if record.config.pair not in pairs]
        self.searches: list[Search] = []
        warm_start = WarmStart(self.searches, self._elsewhere)
        for plan in plans:
            study_id = plan.config.study_id
            if plan.config.scope == "dataset":
                own = [r for r in ended if r.config.study.study_id == study_id]
                own = [r for r in own if r.config.pair in pairs]
                open_ = [c for c in left if c.study.study_id == study_id and c.pair in pairs]
                self.searches.append(DatasetSearch(plan, pairs, own, open_))
                continue
            for pair in pairs:
                key = (study_id, pair)
                self.searches.append(
                    PairSearch(
                        plan,
                        pair,
                        [r for r in ended if (r.config.study.study_id, r.config.pair) == key],
                        [c for c in left if (c.study.study_id, c.pair) == key],
                        partial(warm_start.settings, *key) if plan.config.warm_start else None,
                    )
                )
        for search in self.searches:
            self._studies.reconcile(search)
        self._running: dict[str, TrialRecord] = {}
        self._dirty: set[Pair] = set(pairs)
        self._boards_due = 0.0
        self._unplanned = list(self.searches) if confirm else []
        self._plan_confirmations()

    @property
    def missing(self) -> int:
        """Trials still to hand out."""
        return sum(search.missing for search in self.searches) + self._confirmations.missing

    @property
    def more_to_come(self) -> bool:
        """Whether there will be trials to hand out though there may be none now."""
        return bool(self.missing or self._unplanned)

    @property
    def taken(self) -> int:
        """Trials that another scenario has trained and this run took over."""
        return self._counterparts.taken

    @property
    def running(self) -> int:
        """Trials handed out that have not ended."""
        return len(self._running)

    @property
    def total(self) -> int:
        """Trials this search goes to, over all studies and pairs."""
        searched = sum(len(s.running) + s.missing for s in self.searches)
        return self.ended + searched + self._confirmations.planned - self._confirmations.ended

    @property
    def ended(self) -> int:
        """Trials that ended, in this run or an earlier one."""
        searched = sum(len(held) for search in self.searches for held in search.records.values())
        return searched + self._confirmations.ended

    def next_trial(self) -> TrialConfig | None:
        """The next trial of the search that is furthest behind; None once all are handed out."""
        waiting = [search for search in self.searches if search.missing]
        # With a warm start pairs go one after another: the later ones learn from the finished.
        for search in sorted(waiting, key=lambda s: 0 if s.plan.config.warm_start else s.behind):
            config = search.next_config()
            if config is not None:
                return self._handed_out(config)
        self._plan_confirmations()
        config = self._confirmations.next_config()
        return None if config is None else self._handed_out(config)

    def _handed_out(self, config: TrialConfig) -> TrialConfig:
        self._in_flight.add(config)
        self._running[config.trial_id] = TrialRecord(config=config)
        return config

    def _plan_confirmations(self) -> None:
        """Plans those of searches that have ended; ``transfer`` picks need a whole study's end."""
        for search in [s for s in self._unplanned if not s.missing and not s.running]:
            self._unplanned.remove(search)
            for pair in search.pairs:
                trials = ordered(search.records[pair].values())
                chosen = picks(trials, self.context.first_metric, search.winner)
                self._confirmations.plan(pick.trial.config for pick in chosen)
            study_id = search.plan.config.study_id
            if any(other.plan.config.study_id == study_id for other in self._unplanned):
                continue
            for own in [s for s in self.searches if s.plan.config.study_id == study_id]:
                for pair in own.pairs:
                    chosen = self._ledgers.transfer(study_id, pair)
                    self._confirmations.plan(pick.trial.config for pick in chosen)

    def report(self, trial_id: str, reports: Sequence[EpochReport], about: About) -> bool:
        """Takes reports of a running trial; a report of an epoch replaces an earlier one.

        Args:
            trial_id: of the trial.
            reports: one, or after a restart from a checkpoint all so far.
            about: where and how it runs.

        Returns:
            Whether the trial is to be stopped early.
        """
        record = self._running[trial_id]
        record.host, record.device = about.host, about.device
        record.batch_size, record.notes = about.batch_size, tuple(about.notes)
        record.versions = about.versions
        if record.config.confirms:
            record.epochs |= {report.epoch: opened(report) for report in reports}
            return first_non_finite(record) is not None
        search = self._search_of(record.config)
        for report in reports:
            if report.epoch > 0 and report.epoch not in record.epochs:
                search.report(record.config, report.epoch, report.objective)
            record.epochs[report.epoch] = opened(report)
            self._counterparts.report(record.config, report, record.epochs[report.epoch])
        return should_stop(record, self._peers(record), [report.epoch for report in reports])

    def take_queries(self, trial_id: str, sealed: Mapping[int | str, str]) -> None:
        """Takes the scores of single queries of a confirmation, sealed, by epoch."""
        if sealed:
            self._queries[trial_id] = {int(epoch): text for epoch, text in sealed.items()}

    def restarted(self, trial_id: str) -> None:
        """Notes that a trial was started again after a failure."""
        self._running[trial_id].attempts += 1

    def end(self, trial_id: str, failure: Failure | None = None) -> TrialRecord:
        """Ends a trial: failed, finished, or stopped early if epochs are missing."""
        record = self._running.pop(trial_id)
        failure = failure or non_finite_objective(record)
        record.status = status_of(record, failure)
        if failure is not None:
            record.error_type = failure.type
            record.error_last_line = failure.last_line
            record.error_frame = failure.frame
            record.error_trace = failure.trace
        pair = record.config.pair
        if record.config.confirms:
            self._end_confirmation(record)
        else:
            self._end_searched(record)
        # Under --scope dataset the end of one pair's trial can change what every pair picks.
        self._dirty |= {pair, *self._search_of(record.config).pairs}
        self.ended_now.append(record)
        self.on_end(record)
        if time.monotonic() >= self._boards_due:
            self.write_boards()
        return record

    def _end_searched(self, record: TrialRecord) -> None:
        self._counterparts.end(record)
        self.store.write_trial(record)
        self._in_flight.remove(record.config)
        search = self._search_of(record.config)
        search.end(record)
        self._studies.add(search, record)
        self._ledgers.end(record)
        number = record.config.number
        # The last pair of a proposal decides about its trials on all pairs (--scope dataset).
        pairs = (record.config.pair,) if number in search.undecided else search.pairs
        for pair in pairs:
            self._kept.update(search, pair, search.records[pair].get(number))

    def _end_confirmation(self, record: TrialRecord) -> None:
        sealed = self._queries.pop(record.config.trial_id, {})
        if record.status == "finished" and sealed:
            first_metric = self.context.first_metric
            write_queries(self.store.root, self.index, record, sealed, first_metric)
        # After the queries: a confirmation whose trial file stands is never done again.
        self.store.write_trial(record)
        self._in_flight.remove(record.config)
        self._confirmations.end(record)
        self._ledgers.end(record)
        drop_trial(trial_folder(self._storage, record.config.trial_id))

    def write_boards(self) -> None:
        """Writes the leaderboards of the pairs in which something ended since the last time, or
        whose transfer pick another pair's trials have changed.
        """
        started = time.monotonic()
        for study_id, changed in self._ledgers.changed_transfers():
            for search in self.searches:
                if changed in search.pairs and search.plan.config.study_id == study_id:
                    self._dirty.add(changed)
                    self._kept.update(search, changed)
        for pair in sorted(self._dirty):
            searches = [search for search in self.searches if pair in search.pairs]
            self._boards.write_pair(pair, searches)
            for search in searches:
                self._keep_counterparts(search, pair)
        self._dirty.clear()
        self._ledgers.write()
        now = time.monotonic()
        self._boards_due = now + max(BOARD_INTERVAL, (now - started) / BOARD_SHARE)

    def finish(self) -> None:
        """Writes everything anew at the end of a run, however it ended.

        Boards of pairs that this run did not search may take ``transfer`` settings from it. Once
        nothing is missing, weights that no pick chose are deleted.
        """
        self._dirty |= {pair for search in self.searches for pair in search.pairs}
        self.write_boards()
        self._ledgers.write(at_once=True)
        for pair in sorted({record.config.pair for record in self._elsewhere}):
            own = [record for record in self._elsewhere if record.config.pair == pair]
            self._boards.write_elsewhere(pair, own)
        is_over = not self.missing and not self._running
        for search in self.searches:
            for pair in search.pairs:
                self._kept.settle(search, pair, is_over=is_over)
                self._keep_counterparts(search, pair, is_over=is_over)

    def _keep_counterparts(self, search: Search, pair: Pair, *, is_over: bool = False) -> None:
        config = search.plan.config
        self._counterparts.keep_picked(
            config, pair, search.winner, undecided=search.undecided, is_over=is_over
        )

    def _search_of(self, config: TrialConfig) -> Search:
        return next(
            search
            for search in self.searches
            if config.pair in search.pairs and search.plan.config.study_id == config.study.study_id
        )

    def _peers(self, record: TrialRecord) -> list[TrialRecord]:
        """The trials of the same study and pair, ended or running."""
        config = record.config
        ended = self._search_of(config).records[config.pair].values()
        running = [
            held
            for held in self._running.values()
            if held.config.pair == config.pair and held.config.study == config.study
        ]
        return [*ended, *running]


def opened(report: EpochReport) -> EpochRecord:
    """A report with its sealed metrics opened; the driver alone does this."""
    return EpochRecord(
        epoch=report.epoch,
        objective=report.objective,
        losses=report.losses,
        validators=report.validators,
        metrics=unseal(report.sealed),
        pooled_metrics=unseal(report.sealed_pooled) if report.sealed_pooled else {},
        seconds=report.seconds,
    )


def non_finite_objective(record: TrialRecord) -> Failure | None:
    """A trial with an objective that is not finite has failed, whatever its losses were."""
    held = first_non_finite(record)
    if held is None:
        return None
    sentence = f"{record.config.study.objective} is {held.objective} after epoch {held.epoch}"
    return Failure("NonFiniteObjective", sentence, "", sentence)


def status_of(record: TrialRecord, failure: Failure | None) -> Status:
    """How a trial ended: failed, finished, or stopped early where epochs are missing."""
    if failure is not None:
        return "failed"
    last = record.last
    done = last is not None and last.epoch >= record.config.study.epochs
    return "finished" if done else "pruned"
