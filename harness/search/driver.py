"""The driver of a search: hands trials out, takes their reports, writes what became of them.

It knows nothing of Ray; ``harness.search.ray_run`` connects it to Tune, tests drive it by hand.
Order at a trial's end: its Parquet file, then Optuna, then the leaderboard.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import optuna

from harness.config import TrialConfig
from harness.datasets.contract import DatasetIndex
from harness.datasets.scenario import pair_slug
from harness.evaluation.vault import unseal
from harness.leaderboard.board import BoardContext, chance_row, merge_rows, study_rows
from harness.leaderboard.records import EpochRecord, Status, TrialRecord, ends, scored_directions
from harness.leaderboard.store import ResultsStore
from harness.search.failure import Failure
from harness.search.in_flight import InFlight
from harness.search.pair_search import PairSearch, StudyPlan
from harness.search.picked_files import PickedFiles
from harness.training.report import About, EpochReport
from harness.training.scored_trial import pair_vault

BOARD_INTERVAL = 3.0
"""Seconds between two writes of leaderboards while the search runs."""

Pair = tuple[str, str]


class SearchDriver:
    """State of a search over studies and pairs.

    Attributes:
        searches: by (study id, pair).
        ended_now: records of the trials that ended in this run, in order.
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
    ) -> None:
        self.index = index
        self.store = store
        self.context = context
        self.on_end = on_end
        self.ended_now: list[TrialRecord] = []
        self._in_flight = InFlight(store.root)
        self._picked = PickedFiles(store.root / "picks", storage, context.first_metric)
        study_ids = [plan.config.study_id for plan in plans]
        ended = store.read_trials(study_ids)
        ended_ids = {record.config.trial_id for record in ended}
        left = []
        for config in self._in_flight.read(study_ids):
            if config.trial_id in ended_ids:
                # The driver died between writing the trial's file and forgetting the trial.
                self._in_flight.remove(config)
            else:
                left.append(config)
        self._studies = _Mirror(store.root / "study.db")
        self.searches: dict[tuple[str, Pair], PairSearch] = {}
        for plan in plans:
            for pair in pairs:
                key = (plan.config.study_id, pair)
                search = PairSearch(
                    plan,
                    pair,
                    [r for r in ended if (r.config.study.study_id, r.config.pair) == key],
                    [c for c in left if (c.study.study_id, c.pair) == key],
                )
                self.searches[key] = search
                self._studies.reconcile(search)
        self._running: dict[str, TrialRecord] = {}
        self._chance: dict[Pair, Mapping[str, Mapping[str, float]]] = {}
        self._dirty: set[tuple[str, Pair]] = set(self.searches)
        self._boards_written = 0.0

    @property
    def missing(self) -> int:
        """Trials still to hand out."""
        return sum(search.missing for search in self.searches.values())

    @property
    def running(self) -> int:
        """Trials handed out that have not ended."""
        return len(self._running)

    @property
    def total(self) -> int:
        """Trials this search goes to, over all studies and pairs."""
        return sum(
            len(search.records) + len(search.running) + search.missing
            for search in self.searches.values()
        )

    @property
    def ended(self) -> int:
        """Trials that ended, in this run or an earlier one."""
        return sum(len(search.records) for search in self.searches.values())

    def next_trial(self) -> TrialConfig | None:
        """The next trial of the search that is furthest behind; None once all are handed out."""
        waiting = [search for search in self.searches.values() if search.missing]
        for search in sorted(waiting, key=lambda s: len(s.records) + len(s.running)):
            config = search.next_config()
            if config is not None:
                self._in_flight.add(config)
                self._running[config.trial_id] = TrialRecord(config=config)
                return config
        return None

    def report(self, trial_id: str, reports: Sequence[EpochReport], about: About) -> None:
        """Takes reports of a running trial; a report of an epoch replaces an earlier one.

        Args:
            trial_id: of the trial.
            reports: one, or after a restart from a checkpoint all so far.
            about: where and how it runs.
        """
        record = self._running[trial_id]
        record.host, record.device = about.host, about.device
        record.batch_size, record.notes = about.batch_size, about.notes
        search = self._search_of(record.config)
        for report in reports:
            if report.epoch > 0 and report.epoch not in record.epochs:
                search.report(record.config.number, report.epoch, report.objective)
            record.epochs[report.epoch] = opened(report)

    def restarted(self, trial_id: str) -> None:
        """Notes that a trial was started again after a failure."""
        self._running[trial_id].attempts += 1

    def end(self, trial_id: str, failure: Failure | None = None) -> TrialRecord:
        """Ends a trial: failed, finished, or stopped early if epochs are missing."""
        record = self._running.pop(trial_id)
        record.status = _status(record, failure)
        if failure is not None:
            record.error_type = failure.type
            record.error_last_line = failure.last_line
            record.error_frame = failure.frame
            record.error_trace = failure.trace
        self.store.write_trial(record)
        self._in_flight.remove(record.config)
        search = self._search_of(record.config)
        search.end(record)
        self._studies.add(search, record)
        key = (record.config.study.study_id, record.config.pair)
        self._picked.update(list(search.records.values()), ended=record)
        self._dirty.add(key)
        self.ended_now.append(record)
        self.on_end(record)
        if time.monotonic() - self._boards_written > BOARD_INTERVAL:
            self.write_boards()
        return record

    def write_boards(self) -> None:
        """Writes the leaderboards of the pairs in which something ended since the last time."""
        by_pair: dict[Pair, list[PairSearch]] = {}
        for _, pair in self._dirty:
            by_pair.setdefault(pair, [])
        for (_, pair), search in self.searches.items():
            if pair in by_pair:
                by_pair[pair].append(search)
        for pair, searches in by_pair.items():
            self._write_pair(pair, searches)
        self._dirty.clear()
        self._boards_written = time.monotonic()

    def _write_pair(self, pair: Pair, searches: Sequence[PairSearch]) -> None:
        study = searches[0].plan.config
        for direction in scored_directions(study.scenario):
            query, gallery = ends(pair, direction)
            rows = [
                chance_row(study, pair, direction, self._chance_of(pair)[direction], self.context)
            ]
            for search in searches:
                trials = [search.records[number] for number in sorted(search.records)]
                rows += study_rows(trials, direction, self.context)
            held = self.store.read_board(query, gallery)
            self.store.write_board(
                query, gallery, merge_rows(held, rows, self.context.primary_metric)
            )

    def _chance_of(self, pair: Pair) -> Mapping[str, Mapping[str, float]]:
        if pair not in self._chance:
            config = next(s for (_, p), s in self.searches.items() if p == pair).plan.config
            self._chance[pair] = unseal(pair_vault(self.index, config, pair).chance())
        return self._chance[pair]

    def _search_of(self, config: TrialConfig) -> PairSearch:
        return self.searches[(config.study.study_id, config.pair)]


class _Mirror:
    """``study.db``: ended trials for optuna-dashboard; study name = study id/pair."""

    def __init__(self, path: Path) -> None:
        self._storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        self._studies: dict[str, optuna.Study] = {}

    def reconcile(self, search: PairSearch) -> None:
        """Adds the trials whose files are there and which the data base lacks."""
        study = self._study(search)
        known = {trial.user_attrs.get("trial_id") for trial in study.get_trials(deepcopy=False)}
        for number in sorted(search.records):
            if search.records[number].config.trial_id not in known:
                study.add_trial(search.frozen(search.records[number]))

    def add(self, search: PairSearch, record: TrialRecord) -> None:
        """Adds an ended trial."""
        self._study(search).add_trial(search.frozen(record))

    def _study(self, search: PairSearch) -> optuna.Study:
        name = f"{search.plan.config.study_id}/{pair_slug(*search.pair)}"
        if name not in self._studies:
            self._studies[name] = optuna.create_study(
                storage=self._storage, study_name=name, direction="maximize", load_if_exists=True
            )
        return self._studies[name]


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


def _status(record: TrialRecord, failure: Failure | None) -> Status:
    if failure is not None:
        return "failed"
    last = record.last
    done = last is not None and last.epoch >= record.config.study.epochs
    return "finished" if done else "pruned"
