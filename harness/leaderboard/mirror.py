"""``study.db``: what optuna-dashboard opens. It mirrors ended trials and decides nothing."""

import math
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from harness.config import TrialConfig
from harness.records import TrialRecord

LOCK_SECONDS = 60.0
"""How long a write waits for somebody who reads the file, such as a dashboard."""

Space = Mapping[str, BaseDistribution]


class StudyMirror:
    """``study.db``: the ended trials of every study and pair, for optuna-dashboard."""

    def __init__(self, path: Path) -> None:
        if not _is_sound(path):
            # The trial files are the truth, and it is made anew from them.
            for damaged in (path, path.with_name(f"{path.name}-journal")):
                damaged.unlink(missing_ok=True)
        # The path goes to sqlite itself: in a URL some characters of a folder's name mean more.
        self._storage = optuna.storages.RDBStorage(
            "sqlite://", engine_kwargs={"creator": lambda: _connection(path)}
        )
        self._states: dict[str, dict[int, TrialState]] = {}

    def write(
        self,
        name: str,
        directions: Sequence[str],
        space: Space,
        records: Mapping[int, TrialRecord],
    ) -> None:
        """Brings one study of the file in line with the trial files: none missing, none twice.

        Args:
            name: of the study: study id and pair.
            directions: ``maximize`` or ``minimize`` for each of its objectives.
            space: ranges of what it searches.
            records: its ended trials by number.
        """
        outcomes = {
            number: frozen_trial(record, space, len(directions))
            for number, record in records.items()
        }
        # A write that is cut off leaves nothing remembered: the next one looks what is there.
        states = self._states.pop(name, None) or self._read(name)
        if any(
            number not in outcomes or outcomes[number].state != states[number] for number in states
        ):
            optuna.delete_study(study_name=name, storage=self._storage)
            states.clear()
        missing = [number for number in sorted(outcomes) if number not in states]
        if missing:
            study = optuna.create_study(
                study_name=name,
                storage=self._storage,
                directions=[StudyDirection[direction.upper()] for direction in directions],
                load_if_exists=True,
            )
            study.add_trials([outcomes[number] for number in missing])
            states |= {number: outcomes[number].state for number in missing}
        self._states[name] = states

    def _read(self, name: str) -> dict[int, TrialState]:
        """By our number the state of the trials that the file holds of a study.

        A trial that is there twice, or is none of ours, counts as number -1: the study is made
        anew.
        """
        try:
            study = optuna.load_study(study_name=name, storage=self._storage)
        except KeyError:
            return {}
        trials = study.get_trials(deepcopy=False)
        numbers = [trial.user_attrs.get("number", -1) for trial in trials]
        if len(set(numbers)) < len(numbers):
            return {-1: TrialState.FAIL}
        return {number: trial.state for number, trial in zip(numbers, trials, strict=True)}


def _is_sound(path: Path) -> bool:
    """Whether sqlite can read the file, if it exists."""
    try:
        with closing(_connection(path)) as connection:
            return bool(connection.execute("PRAGMA quick_check").fetchone() == ("ok",))
    except sqlite3.OperationalError:
        raise  # Locked, say: that is no damage.
    except sqlite3.DatabaseError:
        return False


def _connection(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=LOCK_SECONDS, check_same_thread=False)
    # Without a wait for the disk: what a power cut damages is made anew.
    connection.execute("PRAGMA synchronous=OFF")
    return connection


def frozen_trial(record: TrialRecord, space: Space, objectives: int = 1) -> FrozenTrial:
    """An ended trial as Optuna knows it: never a NaN, never COMPLETE for a stopped one.

    The value of a finished or pruned trial is that of its last report; a second objective is the
    seconds, and such a study has no intermediate values.
    """
    last = math.nan if record.last is None else record.last.objective
    state = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED}.get(
        record.status, TrialState.FAIL
    )
    if not math.isfinite(last):
        state = TrialState.FAIL
    values = [last, record.seconds][:objectives]
    if objectives > 1:
        has_values, intermediate = state == TrialState.COMPLETE, {}
    else:
        has_values = state != TrialState.FAIL
        intermediate = {e.epoch: e.objective for e in record.trained if math.isfinite(e.objective)}
    return outcome(record.config, space, state, values if has_values else None, intermediate)


def outcome(
    config: TrialConfig,
    space: Space,
    state: TrialState,
    values: Sequence[float] | None = None,
    intermediate: Mapping[int, float] | None = None,
) -> FrozenTrial:
    """What became of a setting, in Optuna's form, with our number among the attributes."""
    attributes: dict[str, Any] = {"number": config.number}
    return optuna.trial.create_trial(
        state=state,
        values=None if values is None else list(values),
        params=config.searched_values,
        distributions=dict(space),
        user_attrs=attributes,
        intermediate_values=dict(intermediate or {}),
    )
