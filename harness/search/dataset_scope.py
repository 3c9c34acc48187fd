"""The search of one study over all its pairs at once (``--scope dataset``).

Each setting is trained on every pair. Its value is the mean over the pairs of the objective minus
that pair's objective of the untrained weights, so that an easy pair does not outweigh a hard one.
No pair's training is stopped early; one that fails fails the setting.
"""

import math
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from harness.config import TrialConfig
from harness.leaderboard.mirror import outcome
from harness.plan.samplers import directions
from harness.records import TrialRecord
from harness.search.book import PairBook
from harness.search.proposer import Proposer


class DatasetScope:
    """Hands out every setting once per book; see :class:`harness.search.pair_scope.PairScope`.

    Attributes:
        plan: the study; its ``trials`` is the number of settings.
        books: one per pair.
    """

    def __init__(self, books: Sequence[PairBook]) -> None:
        self.plan = books[0].plan
        self.books = tuple(books)
        self._proposer = Proposer(self.plan, ("all pairs",))
        self._begun: dict[int, TrialConfig] = {}
        self._waiting: list[TrialConfig] = []
        for book in self.books:
            for config in [*(r.config for r in book.in_order), *book.waiting]:
                self._begun.setdefault(config.number, config)
            book.waiting.clear()
        for number in sorted(self._begun):
            config = self._begun[number]
            if self._is_whole(number):
                self._proposer.learn(config, self._outcome(config))
            else:
                self._proposer.take_up(config)
                self._waiting += self._rest_of(config)

    @property
    def exhausted(self) -> bool:
        """Whether the space has no further distinct setting."""
        return self._proposer.exhausted

    @property
    def missing(self) -> int:
        """Trials still to hand out."""
        settings = 0 if self.exhausted else max(0, self.plan.goal - len(self._begun))
        return len(self._waiting) + settings * len(self.books)

    @property
    def behind(self) -> float:
        """Trials handed out so far, per pair."""
        return sum(book.taken for book in self.books) / len(self.books)

    def chosen_among(self, book: PairBook) -> Sequence[TrialRecord]:
        """The trial of the setting with the best mean gain over all pairs; none before an end."""
        gains = {
            number: ended.values[0]
            for number, config in self._begun.items()
            if self._is_whole(number) and (ended := self._outcome(config)).values
        }
        best = min(gains, key=lambda number: (-gains[number], number), default=None)
        return [] if best is None else [book.ended[best]]

    def next_trial(self) -> TrialConfig | None:
        """The next trial: the rest of the settings that are begun, then a new one."""
        if not self._waiting:
            if not self.missing:
                return None
            config = self._proposer.propose(self.books[0].pair)
            if config is None:
                return None
            self._begun[config.number] = config
            self._waiting = self._rest_of(config)
        return self._waiting.pop(0)

    def end(self, record: TrialRecord) -> None:
        """Learns from a setting after its last pair has ended."""
        config = self._begun[record.config.number]
        if self._is_whole(config.number):
            self._proposer.learn(config, self._outcome(config))

    def _rest_of(self, config: TrialConfig) -> list[TrialConfig]:
        return [
            self.plan.on_pair(config, book.pair)
            for book in self.books
            if config.number not in book.ended
        ]

    def _is_whole(self, number: int) -> bool:
        return all(number in book.ended for book in self.books)

    def _outcome(self, config: TrialConfig) -> FrozenTrial:
        gains, seconds = [], 0.0
        for book in self.books:
            record = book.ended[config.number]
            if record.status != "finished" or record.last is None or 0 not in record.epochs:
                return outcome(config, self.plan.space, TrialState.FAIL)
            gains.append(record.last.objective - record.epochs[0].objective)
            seconds += record.seconds
        value = sum(gains) / len(gains)
        if math.isnan(value):
            return outcome(config, self.plan.space, TrialState.FAIL)
        values = [value, seconds][: len(directions(self.plan.config.sampler))]
        return outcome(config, self.plan.space, TrialState.COMPLETE, values)
