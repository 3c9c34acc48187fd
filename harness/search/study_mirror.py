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

    def reconcile(self, search: PairSearch | DatasetSearch) -> None:
        """Adds the trials whose files are there and which the data base lacks."""
        for pair, records in search.records.items():
            study = self._study(search, pair)
            known = {trial.user_attrs.get("number") for trial in study.get_trials(deepcopy=False)}
            for number in sorted(records):
                if number not in known:
                    study.add_trial(search.frozen(records[number]))

    def add(self, search: PairSearch | DatasetSearch, record: TrialRecord) -> None:
        """Adds an ended trial."""
        self._study(search, record.config.pair).add_trial(search.frozen(record))

    def _study(self, search: PairSearch | DatasetSearch, pair: Pair) -> optuna.Study:
        name = f"{search.plan.config.study_id}/{pair_slug(*pair)}"
        if name not in self._studies:
            self._studies[name] = optuna.create_study(
                storage=self._storage,
                study_name=name,
                directions=directions(search.plan.config.sampler),
                load_if_exists=True,
            )
        return self._studies[name]
