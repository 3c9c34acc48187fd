"""Which weights stay while trials end: those that a pick of their study and pair chooses."""

from collections.abc import Iterable

from harness.leaderboard.protocols import Pick, picks
from harness.records import TrialRecord
from harness.search.board_writer import Search, ordered
from harness.search.picked_files import PickedFiles
from harness.search.study_ledgers import StudyLedgers

Pair = tuple[str, str]


class KeptPicks:
    """Brings ``picks/`` in line with the picks as trials end.

    A pick is the best of the trials, so that only the trials picked so far and the one that just
    ended can be picked; all others, and their files, need not be looked at again.

    Args:
        files: the files.
        ledgers: give the transfer picks.
        first_metric: the data set's first P@k.
    """

    def __init__(self, files: PickedFiles, ledgers: StudyLedgers, first_metric: str) -> None:
        self._files = files
        self._ledgers = ledgers
        self._first_metric = first_metric
        self._picked: dict[tuple[str, Pair], dict[int, TrialRecord]] = {}

    def update(self, search: Search, pair: Pair, ended: TrialRecord | None = None) -> None:
        """After the end of a trial, or after another pair's trials changed the transfer pick."""
        study_id = search.plan.config.study_id
        held = self._picked.get((study_id, pair))
        if held is None:
            # What an earlier run left is looked through once.
            self.settle(search, pair)
            return
        records = search.records[pair]
        winner = search.winner
        if winner in records:
            held[winner] = records[winner]
        if ended is not None:
            held[ended.config.number] = ended
        self._keep(search, pair, held.values())

    def settle(self, search: Search, pair: Pair, *, is_over: bool = False) -> None:
        """Looks all trials through.

        Args:
            search: of one study.
            pair: one of its pairs.
            is_over: nothing else is to end: what no pick chose is deleted.
        """
        self._keep(search, pair, search.records[pair].values(), is_over=is_over)

    def _keep(
        self, search: Search, pair: Pair, among: Iterable[TrialRecord], *, is_over: bool = False
    ) -> None:
        study_id = search.plan.config.study_id
        chosen: list[Pick] = [
            *picks(ordered(among), self._first_metric, search.winner),
            *self._ledgers.transfer(study_id, pair),
        ]
        touched = {trial.config.number: trial for trial in among}
        picked = {pick.trial.config.number: pick.trial for pick in chosen}
        self._files.update(
            [*(touched | picked).values()], chosen, undecided=search.undecided, is_over=is_over
        )
        self._picked[(study_id, pair)] = picked
