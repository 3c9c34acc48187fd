"""``study.db``: what optuna-dashboard opens. It mirrors ended trials and decides nothing."""

from pathlib import Path

import optuna

from harness.datasets.scenario import pair_slug
from harness.leaderboard.records import TrialRecord
from harness.search.dataset_search import DatasetSearch
from harness.search.pair_search import PairSearch
from harness.search.samplers import directions

Pair = tuple[str, str]


class StudyMirror:
    """``study.db``: ended trials for optuna-dashboard; study name = study id/pair."""

    def __init__(self, path: Path) -> None:
        self._storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        self._studies: dict[str, optuna.Study] = {}
        self._numbers: dict[str, set[int]] = {}

    def reconcile(self, search: PairSearch | DatasetSearch) -> None:
        """Brings the studies in line with the trial files: none missing, none twice."""
        for pair, records in search.records.items():
            held = self._study(search, pair).get_trials(deepcopy=False)
            known = [(trial.user_attrs.get("number"), trial.state) for trial in held]
            wanted = {number: search.frozen(records[number]) for number in sorted(records)}
            numbers = [number for number, _ in known]
            stale = len(set(numbers)) < len(numbers) or any(
                number not in wanted or wanted[number].state != state for number, state in known
            )
            if stale:
                self._rebuild(search, pair)
                continue
            for number, trial in wanted.items():
                if number not in numbers:
                    self._study(search, pair).add_trial(trial)
            self._numbers[self._name(search, pair)] = set(wanted)

    def add(self, search: PairSearch | DatasetSearch, record: TrialRecord) -> None:
        """Adds an ended trial; one that was failed before and is done again replaces itself."""
        pair = record.config.pair
        numbers = self._numbers.setdefault(self._name(search, pair), set())
        if record.config.number in numbers:
            self._rebuild(search, pair)
            return
        self._study(search, pair).add_trial(search.frozen(record))
        numbers.add(record.config.number)

    def _rebuild(self, search: PairSearch | DatasetSearch, pair: Pair) -> None:
        name = self._name(search, pair)
        optuna.delete_study(study_name=name, storage=self._storage)
        self._studies.pop(name, None)
        records = search.records[pair]
        for number in sorted(records):
            self._study(search, pair).add_trial(search.frozen(records[number]))
        self._numbers[name] = set(records)

    @staticmethod
    def _name(search: PairSearch | DatasetSearch, pair: Pair) -> str:
        return f"{search.plan.config.study_id}/{pair_slug(*pair)}"

    def _study(self, search: PairSearch | DatasetSearch, pair: Pair) -> optuna.Study:
        name = self._name(search, pair)
        if name not in self._studies:
            self._studies[name] = optuna.create_study(
                storage=self._storage,
                study_name=name,
                directions=directions(search.plan.config.sampler),
                load_if_exists=True,
            )
        return self._studies[name]
