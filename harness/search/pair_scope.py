"""The search of one study on one pair: every pair finds settings of its own."""

from collections.abc import Sequence

from harness.config import TrialConfig
from harness.leaderboard.mirror import frozen_trial
from harness.plan.samplers import directions
from harness.records import TrialRecord
from harness.search.book import PairBook
from harness.search.proposer import Proposer


class PairScope:
    """Hands out the trials of one book and learns from their ends.

    Attributes:
        plan: the study.
        books: the one book.
    """

    def __init__(self, book: PairBook) -> None:
        self.plan = book.plan
        self.books: tuple[PairBook, ...] = (book,)
        self._proposer = Proposer(self.plan, book.pair)
        for record in book.in_order:
            self.end(record)
        for config in book.waiting:
            self._proposer.take_up(config)

    @property
    def exhausted(self) -> bool:
        """Whether the space has no further distinct setting."""
        return self._proposer.exhausted

    @property
    def missing(self) -> int:
        """Trials still to hand out."""
        book = self.books[0]
        if self.exhausted:
            return len(book.waiting)
        return max(len(book.waiting), self.plan.goal - book.taken)

    @property
    def behind(self) -> float:
        """Trials handed out so far, per pair: whose figure is smallest is served next."""
        return self.books[0].taken

    def chosen_among(self, book: PairBook) -> Sequence[TrialRecord]:
        """The trials that the objective may choose from: all of the pair."""
        return book.in_order

    def next_trial(self) -> TrialConfig | None:
        """The next trial: first those an earlier run left half done, then start points, then
        proposals of the sampler; None where there is nothing to hand out now.
        """
        book = self.books[0]
        if not self.missing:
            return None
        if book.waiting:
            return book.waiting.pop(0)
        return self._proposer.propose(book.pair)

    def end(self, record: TrialRecord) -> None:
        """Learns from a trial that has ended in its book."""
        objectives = len(directions(self.plan.config.sampler))
        outcome = frozen_trial(record, self.plan.space, objectives)
        self._proposer.learn(record.config, outcome)
