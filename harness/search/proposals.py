"""Settings to try next: common start points first, then what a sampler proposes.

The Optuna study of a running search lives in memory and is built from the trial files; ``study.db``
receives ended trials alone, so that no ending whatsoever leaves a trial there as RUNNING.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from harness.config import ParameterValue, StudyConfig
from harness.methods import Method
from harness.search.samplers import directions, keeps_state, make_sampler
from harness.search.start_points import (
    distinct_settings,
    setting_at,
    sobol_point,
    start_count,
    start_point,
)
from harness.seeds import derive_seed
from search_spaces import Space

RESAMPLES = 200
"""Tries to get an untried setting from a sampler; a finite space then gives one of its others."""

WARM_TRIALS = 3
"""Settings of finished pairs that a pair tries at most, under ``--warm-start``."""

WarmSettings = Callable[[], Sequence[Mapping[str, ParameterValue]]]

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """A study and what its trials are made from.

    Attributes:
        config: its configuration; the identity.
        method: what it trains.
        space: ranges of what is searched.
        paper: the paper's values of what is searched.
        fixed: values of parameters that are not searched, by ``--set``.
        covers_paper: False where ``--set`` fixes a searched value to another than the paper's.
        trials: ended trials per pair that the search goes to.
        source: name of the data set's declaration, by which presets are chosen: ``folder`` for
            any root folder.
    """

    config: StudyConfig
    method: Method
    space: Space
    paper: Mapping[str, ParameterValue]
    fixed: Mapping[str, ParameterValue]
    covers_paper: bool
    trials: int
    source: str = "folder"


@dataclass(frozen=True)
class Proposal:
    """Settings to try.

    Attributes:
        number: of the trial, from 0.
        searched: values of what is searched.
        origin: ``start``, ``warm`` or ``proposed``.
        is_paper_point: whether these are the paper's own values.
    """

    number: int
    searched: Mapping[str, ParameterValue]
    origin: str
    is_paper_point: bool


@dataclass(frozen=True)
class Outcome:
    """What became of a proposal, as Optuna hears it.

    Attributes:
        state: COMPLETE, PRUNED or FAIL.
        values: of the objectives; None unless COMPLETE.
        intermediate: objective by completed epochs.
    """

    state: TrialState
    values: tuple[float, ...] | None
    intermediate: Mapping[int, float]


class Proposals:
    """One Optuna study in memory, asked with a seed of its own for every proposal.

    Attributes:
        single_objective: False for a sampler that weighs the objective against the seconds.
    """

    def __init__(
        self, plan: StudyPlan, stream: Sequence[str], warm_start: WarmSettings | None = None
    ) -> None:
        """Starts empty.

        Args:
            plan: the study.
            stream: names the random stream beside the study's seed: the pair's domains.
            warm_start: gives settings to try right after the start points, best first.
        """
        self.plan = plan
        self._exhausted = False
        self._stream = tuple(stream)
        self._warm_start = warm_start
        self._study = optuna.create_study(directions=directions(plan.config.sampler))
        self.single_objective = len(self._study.directions) == 1
        self._asked: dict[int, optuna.Trial] = {}
        self._held: dict[int, Proposal] = {}
        self._seen: set[tuple[ParameterValue, ...]] = set()

    @property
    def exhausted(self) -> bool:
        """Whether the space has no further distinct setting."""
        return self._exhausted or len(self._seen) >= distinct_settings(self.plan.space)

    @property
    def goal(self) -> int:
        """Proposals that the search goes to: ``--trials``, or as many as the space has."""
        return int(min(self.plan.trials, distinct_settings(self.plan.space)))

    def take_ended(self, proposal: Proposal, outcome: Outcome) -> None:
        """Takes over a proposal that an earlier run brought to its end."""
        if self._proposes_again(proposal):
            self._note(proposal)
            for epoch, value in outcome.intermediate.items():
                self.report(proposal.number, epoch, value)
            self.end(proposal.number, outcome)
            return
        self._note(proposal)
        self._study.add_trial(self.frozen(proposal, outcome))

    def note_waiting(self, proposal: Proposal) -> None:
        """Notes a proposal that an earlier run left half done, until :meth:`take_up`."""
        self._note(proposal)

    def take_up(self, proposal: Proposal) -> None:
        """Goes on with a proposal that an earlier run left half done."""
        if not self._proposes_again(proposal):
            self._ask_for(proposal)
        self._note(proposal)

    def propose(self) -> Proposal | None:
        """The next proposal; None once the space is exhausted."""
        number = max(self._held, default=-1) + 1
        if self.exhausted:
            return None
        proposal = self._start(number) or self._warm(number) or self._sampled(number)
        if proposal is None:
            self._exhausted = True
        else:
            self._note(proposal)
        return proposal

    def report(self, number: int, epoch: int, value: float) -> None:
        """Hands an intermediate value on; Optuna takes none with several objectives."""
        if self.single_objective and number in self._asked and math.isfinite(value):
            self._asked[number].report(value, epoch)

    def end(self, number: int, outcome: Outcome) -> None:
        """Tells the truth about a proposal: never a NaN, never COMPLETE for a stopped trial.

        Of a pruned trial Optuna takes the value that was reported last (field-notes F2).
        """
        values = None if outcome.values is None else list(outcome.values)
        self._study.tell(self._asked.pop(number), values, state=outcome.state)

    def frozen(self, proposal: Proposal, outcome: Outcome) -> optuna.trial.FrozenTrial:
        """An ended proposal as Optuna stores it."""
        values = outcome.values
        if outcome.state == TrialState.PRUNED and self.single_objective and outcome.intermediate:
            values = (outcome.intermediate[max(outcome.intermediate)],)
        return optuna.trial.create_trial(
            state=outcome.state,
            values=None if values is None else list(values),
            params=dict(proposal.searched),
            distributions=self.plan.space,
            user_attrs={"number": proposal.number},
            intermediate_values=dict(outcome.intermediate) if self.single_objective else {},
        )

    def _start(self, number: int) -> Proposal | None:
        """The next common start point that was not tried yet, until there are enough of them."""
        starts = sum(held.origin == "start" for held in self._held.values())
        while starts < start_count(self.plan.trials):
            point = start_point(starts, self.plan.space, self.plan.paper, self.plan.config.seed)
            is_paper = starts == 0 and self.plan.covers_paper and point == self._paper_point()
            starts += 1
            if self._key(point) not in self._seen:
                return self._ask_for(Proposal(number, point, "start", is_paper))
        return None

    def _warm(self, number: int) -> Proposal | None:
        """The next setting that was good on a finished pair, a few at most."""
        tried = sum(held.origin == "warm" for held in self._held.values())
        if self._warm_start is None or tried >= WARM_TRIALS:
            return None
        for point in self._warm_start():
            if self._key(point) not in self._seen:
                return self._ask_for(Proposal(number, dict(point), "warm", False))
        return None

    def _paper_point(self) -> dict[str, ParameterValue]:
        return {name: self.plan.paper[name] for name in self.plan.space}

    def _sampled(self, number: int) -> Proposal | None:
        seed = self.plan.config.seed
        described = self.plan.config.sampler
        if described.startswith("qmc("):
            first = sum(held.origin == "proposed" for held in self._held.values())
            for position in range(first, first + RESAMPLES):
                point = sobol_point(position, self.plan.space, derive_seed(seed, "qmc"))
                if self._key(point) not in self._seen:
                    return self._ask_for(Proposal(number, point, "proposed", False))
            return self._untried(number, derive_seed(seed, "qmc", number, "untried"))
        self._study.sampler = make_sampler(
            described, derive_seed(seed, *self._stream, number, "sampler")
        )
        for attempt in range(RESAMPLES):
            trial = self._study.ask(self.plan.space)
            if self._key(trial.params) not in self._seen:
                self._asked[number] = trial
                return Proposal(number, dict(trial.params), "proposed", False)
            # A setting that was tried already: the study hears FAIL, which samplers pass over.
            self._study.tell(trial, state=TrialState.FAIL)
            self._study.sampler = RandomSampler(
                seed=derive_seed(seed, *self._stream, number, attempt) % 2**32
            )
        return self._untried(number, derive_seed(seed, *self._stream, number, "untried"))

    def _untried(self, number: int, seed: int) -> Proposal | None:
        """A setting of a finite space that chance did not meet: from a drawn one on, the first.

        None where the space is continuous, or nothing is left.
        """
        count = distinct_settings(self.plan.space)
        if math.isinf(count) or len(self._seen) >= count:
            return None
        first = int(np.random.default_rng(seed).integers(int(count)))
        for step in range(int(count)):
            point = setting_at((first + step) % int(count), self.plan.space)
            if self._key(point) not in self._seen:
                return self._ask_for(Proposal(number, point, "proposed", False))
        return None

    def _proposes_again(self, proposal: Proposal) -> bool:
        """Asks a sampler that keeps a state in its trials as the earlier run did.

        The state (generation, covariance) comes about anew with the answers, which are the same
        where one trial ran at a time. Another answer is told as FAIL, which samplers pass over;
        the proposal then enters the study without a state.
        """
        if proposal.origin != "proposed" or not keeps_state(self.plan.config.sampler):
            return False
        self._seen.discard(self._key(proposal.searched))
        again = self._sampled(proposal.number)
        if again is not None and self._key(again.searched) == self._key(proposal.searched):
            return True
        if again is not None:
            self._study.tell(self._asked.pop(proposal.number), state=TrialState.FAIL)
        return False

    def _ask_for(self, proposal: Proposal) -> Proposal:
        self._study.enqueue_trial(dict(proposal.searched))
        self._asked[proposal.number] = self._study.ask(self.plan.space)
        return proposal

    def _note(self, proposal: Proposal) -> None:
        self._held[proposal.number] = proposal
        self._seen.add(self._key(proposal.searched))

    def _key(self, searched: Mapping[str, ParameterValue]) -> tuple[ParameterValue, ...]:
        return tuple(searched[name] for name in sorted(self.plan.space))
