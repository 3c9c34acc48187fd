"""Confirmation: every pick of a pair is trained again with fresh seeds once its search has ended.

Confirmations have files of their own and never count towards the search or its picks.
"""

from collections.abc import Iterable
from dataclasses import replace

from harness.config import TrialConfig
from harness.errors import UsageError
from harness.records import TrialRecord
from harness.seeds import derive_seed

ORIGIN = "confirm"


def confirmation_of(pick: TrialConfig, number: int) -> TrialConfig:
    """The training of a pick's settings with the fresh seed ``number``, counted from 0."""
    study_seed, pick_id = pick.study.seed, pick.trial_id
    return replace(
        pick,
        trial_id=f"{pick_id}.seed{number}",
        origin=ORIGIN,
        confirms=pick_id,
        init_seed=derive_seed(study_seed, pick_id, ORIGIN, number, "initial weights"),
        seed=derive_seed(study_seed, pick_id, ORIGIN, number, "trial"),
    )


class ConfirmationQueue:
    """Confirmations to be done, and what became of those that were.

    Args:
        seeds: fresh seeds per pick; with 0 nothing is planned.
        ended: confirmations of earlier runs.

    Raises:
        UsageError: a negative number of seeds.
    """

    def __init__(self, seeds: int, ended: Iterable[TrialRecord]) -> None:
        if seeds < 0:
            raise UsageError(f"--confirm takes a number of seeds, 0 or more, not {seeds}.")
        self.seeds = seeds
        self._planned: dict[str, TrialConfig] = {}
        self._waiting: dict[str, TrialConfig] = {}
        self._ended: dict[str, TrialRecord] = {held.config.trial_id: held for held in ended}

    @property
    def missing(self) -> int:
        """Confirmations to hand out."""
        return len(self._waiting)

    @property
    def planned(self) -> int:
        """Confirmations of this run, whether they wait, run or have ended."""
        return len(self._planned)

    @property
    def ended(self) -> int:
        """Confirmations of this run that have ended, now or in an earlier run."""
        return sum(trial_id in self._ended for trial_id in self._planned)

    def plan(self, picks: Iterable[TrialConfig]) -> None:
        """Plans the confirmations of picks; one that several protocols share is planned once."""
        for pick in picks:
            for number in range(self.seeds):
                config = confirmation_of(pick, number)
                if config.trial_id in self._planned:
                    continue
                self._planned[config.trial_id] = config
                if config.trial_id not in self._ended:
                    self._waiting[config.trial_id] = config

    def next_config(self) -> TrialConfig | None:
        """The next confirmation; None without one."""
        if not self._waiting:
            return None
        return self._waiting.pop(next(iter(self._waiting)))

    def end(self, record: TrialRecord) -> None:
        """Takes an ended confirmation over."""
        self._ended[record.config.trial_id] = record

    def fresh(self, study_id: str, pair: tuple[str, str]) -> dict[str, list[TrialRecord]]:
        """By trial id of the pick its finished confirmations, once all that are planned ended."""
        found: dict[str, list[TrialRecord]] = {}
        for trial_id in sorted(self._ended):
            record = self._ended[trial_id]
            config = record.config
            own = (config.study.study_id, config.pair) == (study_id, pair)
            if own and record.status == "finished":
                found.setdefault(config.confirms, []).append(record)
        open_ = {
            config.confirms
            for trial_id, config in self._planned.items()
            if trial_id not in self._ended
        }
        return {pick_id: held for pick_id, held in found.items() if pick_id not in open_}
