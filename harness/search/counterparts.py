"""Trainings that ``partial`` and ``open`` share: done once, taken over by the other scenario.

A trial that ends under one scenario leaves its counterpart (:mod:`harness.training.counterpart`)
under ``<out>/<dataset>/counterparts``: a trial file, and weights and embeddings of what would be
picked there. The first search of the other scenario moves them to their places and counts them as
ended trials; until then no leaderboard shows them.
"""

import os
import shutil
from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import replace
from pathlib import Path

from harness.config import ParameterValue, StudyConfig, TrialConfig
from harness.evaluation.vault import unseal
from harness.leaderboard.protocols import picks
from harness.leaderboard.start_trials import StartTrials
from harness.leaderboard.store import ResultsStore
from harness.leaderboard.transfer import TransferPicks
from harness.records import EpochRecord, TrialRecord
from harness.search.picked_files import PickedFiles
from harness.search.proposals import StudyPlan
from harness.training.checkpoint import drop_trial, trial_folder
from harness.training.counterpart import counterpart_config, counterpart_study
from harness.training.report import EpochReport

FOLDER = "counterparts"

Pair = tuple[str, str]
Key = tuple[str, Pair]

TURNED = {".safetensors": ".safetensors", ".a.npy": ".b.npy", ".b.npy": ".a.npy"}
"""Endings of a snapshot's files, and those of the counterpart: its pair is the other way round."""


class Counterparts:
    """Takes over what the other scenario has trained, and leaves it what this run trains.

    Attributes:
        taken: trials that this run took over.
    """

    def __init__(
        self,
        store: ResultsStore,
        storage: Path,
        plans: Sequence[StudyPlan],
        pairs: Sequence[Pair],
        first_metric: str,
    ) -> None:
        """Reads what earlier runs of the same studies have left for the other scenario.

        Args:
            store: results of the data set.
            storage: where workers put the snapshots of ended trials.
            plans: the studies of this run.
            pairs: the pairs of this run.
            first_metric: the data set's first P@k.
        """
        self.taken = 0
        self._store = store
        self._storage = storage
        self._plans = plans
        self._pairs = pairs
        self._first_metric = first_metric
        self._aside = ResultsStore(store.root, FOLDER, store.ks)
        self._picked = PickedFiles(self._aside.root / "picks", storage)
        self._running: dict[str, dict[int, EpochRecord]] = {}
        theirs = [held for plan in plans if (held := counterpart_study(plan.config))]
        ids = {study.study_id for study in theirs}
        self._left = {r.config.trial_id: r for r in self._aside.read_trials(ids)}
        self._there = {r.config.trial_id: r for r in store.read_trials(ids)} if ids else {}
        keys = [(study_id, (b, a)) for study_id in sorted(ids) for a, b in pairs]
        self._start = StartTrials(keys, [*self._left.values(), *self._there.values()])
        self._transfer = TransferPicks(self._start, first_metric)

    def take(
        self, ended: Iterable[TrialRecord], in_flight: Iterable[TrialConfig]
    ) -> list[TrialRecord]:
        """Moves what the other scenario has left for this run's studies to its place.

        A setting that a study has tried already is not taken again under another number.

        Args:
            ended: ended trials of this run's studies.
            in_flight: trials that an earlier run left half done; one that the other scenario has
                brought to its end meanwhile is taken.

        Returns:
            The trials, ended as they ended there.
        """
        wanted = {p.config.study_id: p for p in self._plans if counterpart_study(p.config)}
        held = {record.config.trial_id for record in ended}
        half_done = {config.trial_id: config for config in in_flight}
        tried = {_setting(record.config) for record in ended}
        tried |= {_setting(config) for config in half_done.values()}
        taken = []
        for record in self._aside.read_trials(wanted):
            config = record.config
            plan = wanted[config.study.study_id]
            if config.trial_id in held:
                self._forget(config)
                continue
            own = half_done.get(config.trial_id)
            is_new = own == config if own is not None else _setting(config) not in tried
            if config.pair in self._pairs and config.number < plan.trials and is_new:
                self._move(config)
                taken.append(record)
                tried.add(_setting(config))
        self.taken = len(taken)
        return taken

    def report(self, config: TrialConfig, report: EpochReport, opened: EpochRecord) -> None:
        """Takes a report of a running trial.

        Args:
            config: of the trial.
            report: as it came.
            opened: the same with its own direction's metrics open.
        """
        if not report.counterpart:
            return
        pooled = unseal(report.counterpart_pooled) if report.counterpart_pooled else {}
        epochs = self._running.setdefault(config.trial_id, {})
        epochs[report.epoch] = replace(
            opened, metrics=unseal(report.counterpart), pooled_metrics=pooled
        )

    def end(self, record: TrialRecord) -> None:
        """Leaves an ended trial's counterpart; to be called before the trial's own file is written.

        Nothing is left where the other scenario has the trial already.
        """
        epochs = self._running.pop(record.config.trial_id, {})
        theirs = counterpart_config(record.config)
        if (
            theirs is None
            or theirs.trial_id in self._there
            or epochs.keys() != record.epochs.keys()
        ):
            return
        way = "-".join(record.config.pair)
        note = (
            f"Trained once for two scenarios: taken from the trial {record.config.trial_id} "
            f"({record.config.study.scenario} {way})."
        )
        made = replace(record, config=theirs, epochs=epochs, notes=(*record.notes, note))
        self._link(record.config.trial_id, theirs.trial_id)
        self._aside.write_trial(made)
        self._left[theirs.trial_id] = made
        if self._start.add(made):
            self._transfer.start_trial_ended(made)

    def keep_picked(
        self,
        study: StudyConfig,
        pair: Pair,
        winner: int | None,
        *,
        undecided: Set[int],
        is_over: bool,
    ) -> None:
        """Keeps the weights that would be picked in the other scenario, and no others.

        Args:
            study: of this run.
            pair: of this run.
            winner: see :func:`harness.leaderboard.protocols.picks`.
            undecided: numbers of trials of which it is open whether they are picked.
            is_over: nothing else is to end.
        """
        theirs = counterpart_study(study)
        if theirs is None:
            return
        key = (theirs.study_id, (pair[1], pair[0]))
        left = _of(self._left.values(), key)
        if not left:
            return
        every = _of({**self._there, **self._left}.values(), key)
        chosen = [*picks(every, self._first_metric, winner), *self._transfer.of(*key)]
        self._picked.update(left, chosen, undecided=undecided, is_over=is_over)

    def _link(self, trial_id: str, theirs: str) -> None:
        """Gives an ended trial's snapshots a second name, the embeddings the other way round."""
        source, target = trial_folder(self._storage, trial_id), trial_folder(self._storage, theirs)
        drop_trial(target)
        for ending, turned in TURNED.items():
            for path in source.glob(f"{trial_id}@*{ending}"):
                target.mkdir(parents=True, exist_ok=True)
                name = path.name.removeprefix(trial_id).removesuffix(ending)
                _link_or_copy(path, target / f"{theirs}{name}{turned}")

    def _move(self, config: TrialConfig) -> None:
        """Moves a trial to its place: the weights first, for the file alone says it is there."""
        folder = trial_folder(self._storage, config.trial_id)
        for path in self._weights(config):
            folder.mkdir(parents=True, exist_ok=True)
            shutil.move(path, folder / path.name)
        place = self._store.trial_path(config)
        place.parent.mkdir(parents=True, exist_ok=True)
        self._aside.trial_path(config).replace(place)

    def _forget(self, config: TrialConfig) -> None:
        for path in self._weights(config):
            path.unlink(missing_ok=True)
        self._aside.trial_path(config).unlink(missing_ok=True)

    def _weights(self, config: TrialConfig) -> list[Path]:
        return sorted((self._aside.root / "picks").glob(f"{config.trial_id}@*"))


def _of(records: Collection[TrialRecord], key: Key) -> list[TrialRecord]:
    """The trials of a study on a pair, by number."""
    found = [r for r in records if (r.config.study.study_id, r.config.pair) == key]
    return sorted(found, key=lambda record: record.config.number)


def _setting(config: TrialConfig) -> tuple[str, Pair, tuple[ParameterValue, ...]]:
    values = tuple(config.params[name] for name in sorted(config.searched))
    return config.study.study_id, config.pair, values


def _link_or_copy(path: Path, place: Path) -> None:
    try:
        os.link(path, place)
    except OSError:
        # A file system without hard links.
        shutil.copyfile(path, place)
