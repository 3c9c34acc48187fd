"""The search of one study on one pair: what to try next, and what became of it.

The Optuna study of a running search lives in memory and is built from the trial files; ``study.db``
receives ended trials alone, so that no ending whatsoever leaves a trial there as RUNNING. What is
in flight stands in small files of its own (see ``harness.search.in_flight``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import TrialState

from harness.config import ParameterValue, StudyConfig, TrialConfig
from harness.datasets.scenario import pair_slug
from harness.leaderboard.records import TrialRecord
from harness.methods import Method
from harness.search.samplers import make_sampler
from harness.search.start_points import distinct_settings, start_count, start_point
from harness.seeds import derive_seed
from search_spaces import Space

RESAMPLES = 200

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
    """

    config: StudyConfig
    method: Method
    space: Space
    paper: Mapping[str, ParameterValue]
    fixed: Mapping[str, ParameterValue]
    covers_paper: bool
    trials: int


class PairSearch:
    """Proposes the trials of one study on one pair and learns from their ends.

    Attributes:
        plan: the study.
        pair: the domains.
        records: trials that ended, by number.
        running: trials handed out, by number.
        exhausted: the space has no further distinct setting.
    """

    def __init__(
        self,
        plan: StudyPlan,
        pair: tuple[str, str],
        ended: Sequence[TrialRecord],
        in_flight: Sequence[TrialConfig],
    ) -> None:
        self.plan = plan
        self.pair = pair
        self.records: dict[int, TrialRecord] = {}
        self.running: dict[int, TrialConfig] = {}
        self.exhausted = False
        self._waiting = sorted(in_flight, key=lambda config: config.number)
        self._optuna = optuna.create_study(direction="maximize")
        self._asked: dict[int, optuna.Trial] = {}
        for record in sorted(ended, key=lambda record: record.config.number):
            self.records[record.config.number] = record
            self._optuna.add_trial(self.frozen(record))
        self._seen = {self._key(record.config.params) for record in ended}
        self._seen |= {self._key(config.params) for config in in_flight}

    @property
    def missing(self) -> int:
        """Trials still to hand out."""
        if self.exhausted:
            return len(self._waiting)
        return max(0, self.plan.trials - len(self.records) - len(self.running))

    def next_config(self) -> TrialConfig | None:
        """The next trial: first those an earlier run left half done, then start points, then
        proposals of the sampler; None once nothing is missing.
        """
        if not self.missing:
            return None
        if self._waiting:
            config = self._waiting.pop(0)
            self._optuna.enqueue_trial(self._searched(config.params))
            trial = self._optuna.ask(self.plan.space)
        else:
            proposal = self._propose()
            if proposal is None:
                self.exhausted = True
                return None
            trial, config = proposal
        self._asked[config.number] = trial
        self.running[config.number] = config
        return config

    def report(self, number: int, epoch: int, value: float) -> None:
        """Hands an intermediate value to the in-memory study."""
        if number in self._asked and value == value:
            self._asked[number].report(value, epoch)

    def end(self, record: TrialRecord) -> None:
        """Takes an ended trial over; the study hears COMPLETE, PRUNED or FAIL, never a NaN."""
        number = record.config.number
        self.running.pop(number, None)
        self.records[number] = record
        state, value = outcome(record)
        # Of a pruned trial Optuna takes the value reported last (field-notes F2).
        value_told = value if state == TrialState.COMPLETE else None
        self._optuna.tell(self._asked.pop(number), value_told, state=state)

    def frozen(self, record: TrialRecord) -> optuna.trial.FrozenTrial:
        """An ended trial as Optuna stores it."""
        state, value = outcome(record)
        return optuna.trial.create_trial(
            state=state,
            value=None if state == TrialState.FAIL else value,
            params=self._searched(record.config.params),
            distributions=self.plan.space,
            user_attrs={"trial_id": record.config.trial_id, "number": record.config.number},
            intermediate_values={
                epoch: report.objective
                for epoch, report in record.epochs.items()
                if epoch > 0 and report.objective == report.objective
            },
        )

    def _propose(self) -> tuple[optuna.Trial, TrialConfig] | None:
        number = max([-1, *self.records, *self.running]) + 1
        if len(self._seen) >= distinct_settings(self.plan.space):
            return None
        starts = sum(
            config.origin == "start"
            for config in [
                *(record.config for record in self.records.values()),
                *self.running.values(),
            ]
        )
        seed = self.plan.config.seed
        while starts < start_count(self.plan.trials):
            point = start_point(starts, self.plan.space, self.plan.paper, seed)
            is_paper = starts == 0 and self.plan.covers_paper
            starts += 1
            if self._key(point) not in self._seen:
                self._optuna.enqueue_trial(point)
                trial = self._optuna.ask(self.plan.space)
                return trial, self._config(number, trial.params, "start", is_paper)
        sampler: BaseSampler = make_sampler(
            self.plan.config.sampler, derive_seed(seed, *self.pair, number, "sampler")
        )
        for attempt in range(RESAMPLES):
            self._optuna.sampler = sampler
            trial = self._optuna.ask(self.plan.space)
            if self._key(trial.params) not in self._seen:
                return trial, self._config(number, trial.params, "proposed", False)
            # A setting that was tried already: the study hears FAIL, which samplers pass over.
            self._optuna.tell(trial, state=TrialState.FAIL)
            sampler = RandomSampler(seed=derive_seed(seed, *self.pair, number, attempt))
        return None

    def _config(
        self, number: int, searched: Mapping[str, ParameterValue], origin: str, is_paper: bool
    ) -> TrialConfig:
        self._seen.add(self._key(searched))
        return make_trial_config(
            self.plan, self.pair, number, searched, origin=origin, is_paper_point=is_paper
        )

    def _searched(self, params: Mapping[str, ParameterValue]) -> dict[str, ParameterValue]:
        return {name: params[name] for name in self.plan.space}

    def _key(self, params: Mapping[str, ParameterValue]) -> tuple[ParameterValue, ...]:
        return tuple(params[name] for name in sorted(self.plan.space))


def make_trial_config(
    plan: StudyPlan,
    pair: tuple[str, str],
    number: int,
    searched: Mapping[str, ParameterValue],
    *,
    origin: str,
    is_paper_point: bool,
) -> TrialConfig:
    """The trial of these searched values; seeds are functions of (study seed, pair, number)."""
    study = plan.config
    params = plan.method.resolve(study.preset, study.dataset, {**plan.fixed, **searched})
    return TrialConfig(
        study=study,
        trial_id=f"{study.study_id}.{pair_slug(*pair)}.{number:04d}",
        number=number,
        pair=pair,
        params=params,
        searched=tuple(sorted(plan.space)),
        origin=origin,
        is_paper_point=is_paper_point,
        init_seed=derive_seed(study.seed, "initial weights"),
        seed=derive_seed(study.seed, *pair, number, "trial"),
    )


def outcome(record: TrialRecord) -> tuple[TrialState, float]:
    """What Optuna hears of an ended trial: the value of the last report, and the truth."""
    value = record.last.objective if record.last is not None else float("nan")
    if record.status == "failed" or value != value:
        return TrialState.FAIL, value
    return (TrialState.PRUNED if record.status == "pruned" else TrialState.COMPLETE), value
