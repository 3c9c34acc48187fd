"""Confirmation: every pick of a pair is trained again with fresh seeds once its search has ended.

Confirmations have files of their own and never count towards the search or its picks.
"""

from collections.abc import Iterable
from dataclasses import replace

from harness.config import Pair, TrialConfig
from harness.records import TrialRecord
from harness.search.book import joined
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


class Confirmations:
    """Confirmations to be done, and what became of those that were.

    They need no note on disk while they run: the picks of an ended search plan the same ones again.

    Attributes:
        waiting: to hand out, by trial id; likewise the next two.
        running: handed out and not ended.
        ended: of this run and of earlier ones.
    """

    def __init__(
        self, seeds: int, ended: Iterable[TrialRecord], *, retry_failed: bool = False
    ) -> None:
        """Plans nothing yet.

        Args:
            seeds: fresh seeds per pick; with 0 nothing is planned.
            ended: confirmations of earlier runs.
            retry_failed: forget those that failed.
        """
        self.waiting: dict[str, TrialConfig] = {}
        self.running: dict[str, TrialRecord] = {}
        self.ended = {
            record.config.trial_id: record
            for record in ended
            if not (retry_failed and record.status == "failed")
        }
        self._seeds = seeds
        self._planned: dict[str, TrialConfig] = {}

    @property
    def done(self) -> int:
        """Confirmations of this run that have ended, now or in an earlier run."""
        return sum(trial_id in self.ended for trial_id in self._planned)

    def plan(self, picks: Iterable[TrialConfig]) -> None:
        """Plans the confirmations of picks; one that several protocols share is planned once."""
        for pick in picks:
            for number in range(self._seeds):
                config = confirmation_of(pick, number)
                is_new = config.trial_id not in self._planned
                self._planned[config.trial_id] = config
                if is_new and config.trial_id not in self.ended:
                    self.waiting[config.trial_id] = config

    def hand_out(self) -> TrialConfig | None:
        """The next confirmation; None without one."""
        if not self.waiting:
            return None
        config = self.waiting.pop(next(iter(self.waiting)))
        self.running[config.trial_id] = TrialRecord(config=config)
        return config

    def take(self, report: TrialRecord) -> TrialRecord:
        """Takes a report of a running confirmation over; returns all that is known of it."""
        trial_id = report.config.trial_id
        self.running[trial_id] = joined(self.running[trial_id], report)
        return self.running[trial_id]

    def end(self, record: TrialRecord) -> None:
        """Takes an ended confirmation over."""
        self.running.pop(record.config.trial_id, None)
        self.ended[record.config.trial_id] = record

    def fresh(self, study_id: str, pair: Pair) -> dict[str, list[TrialRecord]]:
        """By trial id of the pick its finished confirmations, once all that are planned ended."""
        unended = {
            config.confirms
            for trial_id, config in self._planned.items()
            if trial_id not in self.ended
        }
        found: dict[str, list[TrialRecord]] = {}
        for trial_id in sorted(self.ended):
            record = self.ended[trial_id]
            config = record.config
            is_of_pair = (config.study.study_id, config.pair) == (study_id, pair)
            if is_of_pair and record.status == "finished" and config.confirms not in unended:
                found.setdefault(config.confirms, []).append(record)
        return found
