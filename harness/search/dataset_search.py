"""The search of one study over all its pairs at once (``--scope dataset``).

Each proposal is trained on every pair. Its value is the mean over the pairs of the objective minus
that pair's objective of the untrained weights, so that an easy pair does not outweigh a hard one.
No pair's training is stopped early; one that fails fails the proposal.
"""

import math
from collections.abc import Sequence

import optuna
from optuna.trial import TrialState

from harness.config import TrialConfig
from harness.records import TrialRecord
from harness.search.proposals import Outcome, Proposal, Proposals, StudyPlan
from harness.search.trial_configs import config_of, outcome_of, proposal_of

Pair = tuple[str, str]


class DatasetSearch:
    """Hands out every proposal once per pair; see :class:`harness.search.pair_search.PairSearch`.

    Attributes:
        plan: the study; its ``trials`` is the number of proposals.
        pairs: the pairs.
        records: by pair the trials that ended, by number.
        running: trials handed out and not ended, by (pair, number).
    """

    def __init__(
        self,
        plan: StudyPlan,
        pairs: Sequence[Pair],
        ended: Sequence[TrialRecord],
        in_flight: Sequence[TrialConfig],
    ) -> None:
        self.plan = plan
        self.pairs = tuple(pairs)
        self.records: dict[Pair, dict[int, TrialRecord]] = {pair: {} for pair in pairs}
        self.running: dict[tuple[Pair, int], TrialConfig] = {}
        self._proposals = Proposals(plan, ("all pairs",))
        self._held: dict[int, Proposal] = {}
        self._open: set[int] = set()
        self._waiting: list[TrialConfig] = []
        for record in ended:
            self.records[record.config.pair][record.config.number] = record
            self._held[record.config.number] = proposal_of(record.config)
        for config in in_flight:
            self._held.setdefault(config.number, proposal_of(config))
        for number in sorted(self._held):
            proposal = self._held[number]
            if all(number in self.records[pair] for pair in self.pairs):
                self._proposals.take_ended(proposal, self._outcome(number))
            else:
                self._proposals.take_up(proposal)
                self._open.add(number)
                self._waiting += self._missing_configs(proposal)

    @property
    def exhausted(self) -> bool:
        """Whether the space has no further distinct setting."""
        return self._proposals.exhausted

    @property
    def missing(self) -> int:
        """Trials still to hand out."""
        proposals = 0 if self.exhausted else max(0, self._proposals.goal - len(self._held))
        return len(self._waiting) + proposals * len(self.pairs)

    @property
    def behind(self) -> float:
        """Trials handed out so far, per pair."""
        ended = sum(len(records) for records in self.records.values())
        return (ended + len(self.running)) / len(self.pairs)

    @property
    def winner(self) -> int:
        """The proposal with the best mean gain over all pairs; -1 while none has ended."""
        values = {
            number: outcome.values[0]
            for number in self._held
            if all(number in self.records[pair] for pair in self.pairs)
            and (outcome := self._outcome(number)).values is not None
        }
        return min(values, key=lambda number: (-values[number], number), default=-1)

    @property
    def undecided(self) -> frozenset[int]:
        """Numbers of proposals that have not ended on all pairs: each may still be the winner."""
        return frozenset(self._open)

    def next_config(self) -> TrialConfig | None:
        """The next trial: the rest of the proposals that are open, then a new proposal."""
        if not self._waiting:
            if not self.missing:
                return None
            proposal = self._proposals.propose()
            if proposal is None:
                return None
            self._held[proposal.number] = proposal
            self._open.add(proposal.number)
            self._waiting = self._missing_configs(proposal)
        config = self._waiting.pop(0)
        self.running[(config.pair, config.number)] = config
        return config

    def report(self, config: TrialConfig, epoch: int, value: float) -> None:
        """Nothing: a proposal has a value only once all its pairs have ended."""

    def end(self, record: TrialRecord) -> None:
        """Takes an ended trial over; the study hears of a proposal after its last pair."""
        config = record.config
        self.running.pop((config.pair, config.number), None)
        self.records[config.pair][config.number] = record
        number = config.number
        if number in self._open and all(number in self.records[pair] for pair in self.pairs):
            self._open.discard(number)
            self._proposals.end(number, self._outcome(number))

    def frozen(self, record: TrialRecord) -> optuna.trial.FrozenTrial:
        """An ended trial as ``study.db`` keeps it, in the study of its pair."""
        return self._proposals.frozen(proposal_of(record.config), outcome_of(record))

    def _missing_configs(self, proposal: Proposal) -> list[TrialConfig]:
        return [
            config_of(self.plan, pair, proposal)
            for pair in self.pairs
            if proposal.number not in self.records[pair]
        ]

    def _outcome(self, number: int) -> Outcome:
        gains, seconds = [], 0.0
        for pair in self.pairs:
            record = self.records[pair][number]
            if record.status != "finished" or record.last is None or 0 not in record.epochs:
                return Outcome(TrialState.FAIL, None, {})
            gains.append(record.last.objective - record.epochs[0].objective)
            seconds += record.seconds
        value = sum(gains) / len(gains)
        if math.isnan(value):
            return Outcome(TrialState.FAIL, None, {})
        values = (value, seconds)[: 1 if self._proposals.single_objective else 2]
        return Outcome(TrialState.COMPLETE, values, {})
