"""Settings to try next: common start points first, then what a sampler proposes.

The Optuna study of a running search lives in memory and learns from the trial files; ``study.db``
receives ended trials alone, so that no ending whatsoever leaves a trial there as RUNNING.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from harness.config import Pair, ParameterValue, TrialConfig
from harness.plan.samplers import directions, make_sampler
from harness.plan.start_points import (
    distinct_settings,
    setting_at,
    sobol_point,
    start_count,
    start_point,
)
from harness.plan.study_plan import StudyPlan
from harness.seeds import derive_seed

RESAMPLES = 200
"""Tries to get an untried setting from a sampler; a finite space then gives one of its others."""

optuna.logging.set_verbosity(optuna.logging.WARNING)

Setting = Mapping[str, ParameterValue]


class Proposer:
    """One Optuna study in memory, asked with a seed of its own for every setting.

    Attributes:
        plan: the study.
    """

    def __init__(self, plan: StudyPlan, stream: Sequence[str]) -> None:
        """Starts empty.

        Args:
            plan: the study.
            stream: names the random stream beside the study's seed: the pair's domains.
        """
        self.plan = plan
        self._stream = tuple(stream)
        self._study = optuna.create_study(directions=directions(plan.config.sampler))
        self._is_empty = False
        # Optuna's own trials, to tell it what became of them; by our numbers.
        self._asked: dict[int, optuna.Trial] = {}
        self._origins: dict[int, str] = {}
        self._tried: set[tuple[ParameterValue, ...]] = set()

    @property
    def exhausted(self) -> bool:
        """Whether the space has no further distinct setting."""
        return self._is_empty or len(self._tried) >= distinct_settings(self.plan.space)

    @property
    def trials(self) -> list[FrozenTrial]:
        """What the sampler has heard, in the order of hearing."""
        return self._study.get_trials(deepcopy=False)

    @property
    def sampler(self) -> optuna.samplers.BaseSampler:
        """The sampler of the last proposal."""
        return self._study.sampler

    def propose(self, pair: Pair) -> TrialConfig | None:
        """The next setting as a trial of a pair; None once the space is exhausted."""
        if self.exhausted:
            return None
        number = max(self._origins, default=-1) + 1
        config = self._start(pair, number) or self._sampled(pair, number)
        if config is None:
            self._is_empty = True
        else:
            self._remember(config)
        return config

    def take_up(self, config: TrialConfig) -> None:
        """Takes over a setting that an earlier run has handed out."""
        self._ask_for(config.number, config.searched_values)
        self._remember(config)

    def learn(self, config: TrialConfig, outcome: FrozenTrial) -> None:
        """Hears what became of a setting; one that it has not proposed itself is added."""
        if config.number not in self._origins:
            self._remember(config)
        trial = self._asked.pop(config.number, None)
        if trial is None:
            self._study.add_trial(outcome)
            return
        for epoch, value in outcome.intermediate_values.items():
            trial.report(value, epoch)
        is_complete = outcome.state == TrialState.COMPLETE
        self._study.tell(trial, outcome.values if is_complete else None, state=outcome.state)

    def _start(self, pair: Pair, number: int) -> TrialConfig | None:
        """The next common start point that was not tried yet, until there are enough of them."""
        plan = self.plan
        starts = sum(origin == "start" for origin in self._origins.values())
        while starts < start_count(plan.trials):
            point = start_point(starts, plan.space, plan.paper, plan.config.seed)
            papers = {name: plan.paper[name] for name in plan.space}
            is_paper = starts == 0 and plan.covers_paper and point == papers
            starts += 1
            if self._key(point) not in self._tried:
                self._ask_for(number, point)
                return plan.trial(pair, number, point, origin="start", is_paper_point=is_paper)
        return None

    def _sampled(self, pair: Pair, number: int) -> TrialConfig | None:
        if self.plan.config.sampler.startswith("qmc("):
            point = self._quasi_random()
            seed = derive_seed(self.plan.config.seed, "qmc", number, "untried")
        else:
            point = self._sample(number)
            seed = derive_seed(self.plan.config.seed, *self._stream, number, "untried")
        if point is None:
            point = self._untried(seed)
        if point is None:
            return None
        if number not in self._asked:
            self._ask_for(number, point)
        return self.plan.trial(pair, number, point, origin="proposed")

    def _quasi_random(self) -> Setting | None:
        """The next untried point of a Sobol sequence beside that of the start points."""
        first = sum(origin == "proposed" for origin in self._origins.values())
        seed = derive_seed(self.plan.config.seed, "qmc")
        for position in range(first, first + RESAMPLES):
            point = sobol_point(position, self.plan.space, seed)
            if self._key(point) not in self._tried:
                return point
        return None

    def _sample(self, number: int) -> Setting | None:
        """An untried setting of the sampler, which is seeded by the number."""
        seed = self.plan.config.seed
        self._study.sampler = make_sampler(
            self.plan.config.sampler, derive_seed(seed, *self._stream, number, "sampler")
        )
        for attempt in range(RESAMPLES):
            trial = self._study.ask(self.plan.space)
            if self._key(trial.params) not in self._tried:
                self._asked[number] = trial
                return dict(trial.params)
            # A setting that was tried already: the study hears FAIL, which samplers pass over.
            self._study.tell(trial, state=TrialState.FAIL)
            self._study.sampler = RandomSampler(
                seed=derive_seed(seed, *self._stream, number, attempt) % 2**32
            )
        return None

    def _untried(self, seed: int) -> Setting | None:
        """A setting of a finite space that chance did not meet: from a drawn one on, the first.

        None where the space is continuous, or nothing is left.
        """
        count = distinct_settings(self.plan.space)
        if math.isinf(count) or len(self._tried) >= count:
            return None
        first = int(np.random.default_rng(seed).integers(int(count)))
        for step in range(int(count)):
            point = setting_at((first + step) % int(count), self.plan.space)
            if self._key(point) not in self._tried:
                return point
        return None

    def _ask_for(self, number: int, point: Setting) -> None:
        self._study.enqueue_trial(dict(point))
        self._asked[number] = self._study.ask(self.plan.space)

    def _remember(self, config: TrialConfig) -> None:
        self._origins[config.number] = config.origin
        self._tried.add(self._key(config.searched_values))

    def _key(self, searched: Setting) -> tuple[ParameterValue, ...]:
        return tuple(searched[name] for name in sorted(self.plan.space))
