"""The common start trials of some studies, pair by pair.

All pairs of a study begin with the same settings and none of these trials is stopped early, so that
they alone can be set side by side: ``transfer`` and the judging of validators rest on them.
"""

from collections.abc import Iterable, Mapping, Sequence

from harness.config import Pair
from harness.records import EpochRecord, TrialRecord

Setting = tuple[tuple[str, int | float | str | bool], ...]


class StartTrials:
    """Ended start trials by study and pair, pairs outside the present run included.

    Args:
        pairs: (study id, pair) of the present run.
        records: ended trials of these studies, on whichever pair.
    """

    def __init__(
        self, pairs: Iterable[tuple[str, Pair]], records: Iterable[TrialRecord] = ()
    ) -> None:
        self._held: dict[str, dict[Pair, dict[str, TrialRecord]]] = {}
        for study_id, pair in pairs:
            self._held.setdefault(study_id, {}).setdefault(pair, {})
        for record in records:
            self.add(record)

    def add(self, record: TrialRecord) -> bool:
        """Takes an ended trial over; says whether it is a start trial."""
        config = record.config
        of_pair = self._held.setdefault(config.study.study_id, {}).setdefault(config.pair, {})
        if config.origin != "start":
            return False
        of_pair[config.trial_id] = record
        return True

    @property
    def study_ids(self) -> tuple[str, ...]:
        """The studies."""
        return tuple(self._held)

    def by_pair(self, study_id: str) -> Mapping[Pair, Sequence[TrialRecord]]:
        """Ended start trials of every pair of a study, by number; empty where none has ended."""
        return {
            pair: sorted(records.values(), key=lambda record: record.config.number)
            for pair, records in self._held.get(study_id, {}).items()
        }


def finished_by_setting(
    records: Iterable[TrialRecord],
) -> dict[Setting, tuple[TrialRecord, EpochRecord]]:
    """Finished start trials and their last reports, by their searched values."""
    return {
        setting_of(record): (record, record.last)
        for record in records
        if record.config.origin == "start" and record.status == "finished" and record.last
    }


def setting_of(record: TrialRecord) -> Setting:
    """The searched values of a trial, comparable between pairs."""
    config = record.config
    return tuple((name, config.params[name]) for name in sorted(config.searched))
