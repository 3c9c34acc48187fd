"""``study.db``: what optuna-dashboard opens. It mirrors ended trials and decides nothing."""

import datetime
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna
from optuna.distributions import distribution_to_json
from optuna.trial import FrozenTrial

from harness.datasets.scenario import pair_slug
from harness.records import TrialRecord
from harness.search.dataset_search import DatasetSearch
from harness.search.pair_search import PairSearch
from harness.search.samplers import directions
from harness.search.trial_configs import outcome_of

Pair = tuple[str, str]

SCHEMA_VERSION = 12
"""Of the tables that :meth:`StudyMirror._insert` knows, as Optuna 5.0 makes them. The trials of a
file of another version are added through Optuna, which is slower: some 30 queries per trial."""

LOCK_SECONDS = 60.0
"""How long a write waits for somebody who reads the file, such as a dashboard."""


class StudyMirror:
    """``study.db``: ended trials for optuna-dashboard; study name = study id/pair.

    Optuna makes the file and the studies in it; trials are written in one transaction each.
    """

    def __init__(self, path: Path) -> None:
        self._storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        self._database = sqlite3.connect(path, timeout=LOCK_SECONDS)
        version = self._database.execute("SELECT schema_version FROM version_info").fetchone()
        self._known_schema = version == (SCHEMA_VERSION,)
        self._study_ids: dict[str, int] = dict(
            self._database.execute("SELECT study_name, study_id FROM studies")
        )
        self._numbers: dict[str, set[int]] = {}

    def reconcile(self, search: PairSearch | DatasetSearch) -> None:
        """Brings the studies in line with the trial files: none missing, none twice."""
        for pair, records in search.records.items():
            name = self._name(search, pair)
            known = self._states(self._study_id(search, name))
            numbers = {number for number, _ in known}
            stale = len(numbers) < len(known) or any(
                number not in records or outcome_of(records[number]).state.name != state
                for number, state in known
            )
            if stale:
                self._rebuild(search, name, records)
            else:
                self._insert(search, name, [records[n] for n in sorted(set(records) - numbers)])
            self._numbers[name] = set(records)

    def add(self, search: PairSearch | DatasetSearch, record: TrialRecord) -> None:
        """Adds an ended trial; one that was failed before and is done again replaces itself."""
        name, number = self._name(search, record.config.pair), record.config.number
        numbers = self._numbers.setdefault(name, set())
        if number in numbers:
            self._rebuild(search, name, search.records[record.config.pair])
            return
        self._insert(search, name, [record])
        numbers.add(number)

    def _rebuild(
        self, search: PairSearch | DatasetSearch, name: str, records: Mapping[int, TrialRecord]
    ) -> None:
        optuna.delete_study(study_name=name, storage=self._storage)
        self._study_ids.pop(name, None)
        self._insert(search, name, [records[number] for number in sorted(records)])
        self._numbers[name] = set(records)

    def _states(self, study_id: int) -> list[tuple[int | None, str]]:
        """The number in our files and the state of every trial that a study of the file holds."""
        rows = self._database.execute(
            "SELECT value_json, state FROM trials LEFT JOIN trial_user_attributes"
            " ON trials.trial_id = trial_user_attributes.trial_id AND key = 'number'"
            " WHERE study_id = ?",
            (study_id,),
        )
        return [(None if text is None else json.loads(text), state) for text, state in rows]

    def _insert(
        self, search: PairSearch | DatasetSearch, name: str, records: Sequence[TrialRecord]
    ) -> None:
        """Adds trials at the end of a study, all or none."""
        study_id = self._study_id(search, name)
        trials = [search.frozen(record) for record in records]
        if not self._known_schema:
            optuna.load_study(study_name=name, storage=self._storage).add_trials(trials)
            return
        with self._database as database:
            first = database.execute(
                "SELECT COUNT(*) FROM trials WHERE study_id = ?", (study_id,)
            ).fetchone()[0]
            for place, trial in enumerate(trials, start=first):
                _insert_trial(database, study_id, place, trial)

    @staticmethod
    def _name(search: PairSearch | DatasetSearch, pair: Pair) -> str:
        return f"{search.plan.config.study_id}/{pair_slug(*pair)}"

    def _study_id(self, search: PairSearch | DatasetSearch, name: str) -> int:
        """Of the study in the file, which is made where it is missing."""
        if name not in self._study_ids:
            self._study_ids[name] = self._storage.create_new_study(
                [
                    optuna.study.StudyDirection[direction.upper()]
                    for direction in directions(search.plan.config.sampler)
                ],
                name,
            )
        return self._study_ids[name]


def _insert_trial(
    database: sqlite3.Connection, study_id: int, place: int, trial: FrozenTrial
) -> None:
    """The rows of an ended trial, as ``Study.add_trial`` writes them; its values are finite."""
    trial_id = database.execute(
        "INSERT INTO trials (number, study_id, state, datetime_start, datetime_complete)"
        " VALUES (?, ?, ?, ?, ?)",
        (
            place,
            study_id,
            trial.state.name,
            _utc(trial.datetime_start),
            _utc(trial.datetime_complete),
        ),
    ).lastrowid
    database.executemany(
        "INSERT INTO trial_values (trial_id, objective, value, value_type)"
        " VALUES (?, ?, ?, 'FINITE')",
        [(trial_id, objective, value) for objective, value in enumerate(trial.values or ())],
    )
    database.executemany(
        "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)"
        " VALUES (?, ?, ?, ?)",
        [
            (
                trial_id,
                name,
                float(trial.distributions[name].to_internal_repr(value)),
                distribution_to_json(trial.distributions[name]),
            )
            for name, value in trial.params.items()
        ],
    )
    database.executemany(
        "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?)",
        [(trial_id, key, json.dumps(value)) for key, value in trial.user_attrs.items()],
    )
    database.executemany(
        "INSERT INTO trial_intermediate_values"
        " (trial_id, step, intermediate_value, intermediate_value_type)"
        " VALUES (?, ?, ?, 'FINITE')",
        [(trial_id, step, value) for step, value in trial.intermediate_values.items()],
    )


def _utc(moment: datetime.datetime | None) -> str | None:
    """A local time as the file keeps it: UTC, without a zone."""
    if moment is None:
        return None
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
