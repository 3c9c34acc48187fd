"""The search of one study on one pair: every pair finds settings of its own."""

from collections.abc import Sequence

import optuna

from harness.config import TrialConfig
from harness.datasets.scenario import training_order
from harness.records import TrialRecord
from harness.search.proposals import Proposals, StudyPlan, WarmSettings
from harness.search.trial_configs import config_of, outcome_of, proposal_of

Pair = tuple[str, str]


class PairSearch:
    """Hands out the trials of one pair and learns from their ends.

    Attributes:
        plan: the study.
        pairs: the one pair.
        records: by pair the trials that ended, by number.
        running: trials handed out and not ended, by (pair, number).
        failing: numbers of failed trials that are to be done again.
    """

    def __init__(
        self,
        plan: StudyPlan,
        pair: Pair,
        ended: Sequence[TrialRecord],
        in_flight: Sequence[TrialConfig],
        warm_start: WarmSettings | None = None,
    ) -> None:
        self.plan = plan
        self.pairs = (pair,)
        self.records: dict[Pair, dict[int, TrialRecord]] = {pair: {}}
        self.running: dict[tuple[Pair, int], TrialConfig] = {}
        stream = training_order(plan.config.scenario, pair)
        self._proposals = Proposals(plan, stream, warm_start)
        self._waiting = sorted(in_flight, key=lambda config: config.number)
        for record in sorted(ended, key=lambda record: record.config.number):
            self.records[pair][record.config.number] = record
            self._proposals.take_ended(proposal_of(record.config), outcome_of(record))
        for config in self._waiting:
            self._proposals.note_waiting(proposal_of(config))

    @property
    def exhausted(self) -> bool:
        """Whether the space has no further distinct setting."""
        return self._proposals.exhausted

    @property
    def missing(self) -> int:
        """Trials still to hand out."""
        if self.exhausted:
            return len(self._waiting)
        held = len(self.records[self.pairs[0]]) + len(self.running)
        return max(len(self._waiting), self._proposals.goal - held)

    @property
    def behind(self) -> float:
        """Trials handed out so far, per pair: whose figure is smallest is served next."""
        return len(self.records[self.pairs[0]]) + len(self.running)

    @property
    def winner(self) -> int | None:
        """None: the pair's own objective decides which trial ``last`` and ``label_free`` take."""
        return None

    @property
    def undecided(self) -> frozenset[int]:
        """Numbers of ended trials of which it is open whether they are picked: none."""
        return frozenset()

    def next_config(self) -> TrialConfig | None:
        """The next trial: first those an earlier run left half done, then start points, then
        proposals of the sampler; None where there is nothing to hand out now.
        """
        if not self.missing:
            return None
        if self._waiting:
            config = self._waiting.pop(0)
            self._proposals.take_up(proposal_of(config))
        else:
            proposal = self._proposals.propose()
            if proposal is None:
                return None
            config = config_of(self.plan, self.pairs[0], proposal)
        self.running[(config.pair, config.number)] = config
        return config

    def report(self, config: TrialConfig, epoch: int, value: float) -> None:
        """Takes an intermediate value."""
        self._proposals.report(config.number, epoch, value)

    def end(self, record: TrialRecord) -> None:
        """Takes an ended trial over; the study hears COMPLETE, PRUNED or FAIL, never a NaN."""
        config = record.config
        self.running.pop((config.pair, config.number), None)
        self.records[config.pair][config.number] = record
        self._proposals.end(config.number, outcome_of(record))

    def frozen(self, record: TrialRecord) -> optuna.trial.FrozenTrial:
        """An ended trial as ``study.db`` keeps it."""
        return self._proposals.frozen(proposal_of(record.config), outcome_of(record))
