"""A study and what its trials are made from."""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.config import Pair, ParameterValue, StudyConfig, TrialConfig, make_trial_id
from harness.datasets.scenario import pair_slug
from harness.methods import Method, Space
from harness.plan.start_points import distinct_settings, start_point
from harness.seeds import derive_seed

HALVING = "halving(eta=3)"
"""Name and arguments of the early stopping within a pair (:mod:`harness.search.early_stopping`)."""


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

    @property
    def goal(self) -> int:
        """Distinct settings the search goes to: ``--trials``, or as many as the space has."""
        return int(min(self.trials, distinct_settings(self.space)))

    def trial(
        self,
        pair: Pair,
        number: int,
        searched: Mapping[str, ParameterValue],
        *,
        origin: str,
        is_paper_point: bool = False,
    ) -> TrialConfig:
        """The trial of these searched values; its seeds follow from (study seed, pair, number)."""
        study = self.config
        return TrialConfig(
            study=study,
            trial_id=make_trial_id(study.study_id, pair_slug(*pair), number),
            number=number,
            pair=pair,
            params=self.method.resolve(study.preset, self.source, {**self.fixed, **searched}),
            searched=tuple(sorted(self.space)),
            origin=origin,
            is_paper_point=is_paper_point,
            init_seed=derive_seed(study.seed, "initial weights"),
            seed=derive_seed(study.seed, *pair, number, "trial"),
        )

    def on_pair(self, trial: TrialConfig, pair: Pair) -> TrialConfig:
        """The trial of the same settings on another pair."""
        return self.trial(
            pair,
            trial.number,
            trial.searched_values,
            origin=trial.origin,
            is_paper_point=trial.is_paper_point,
        )

    def first_trial(self, pair: Pair) -> TrialConfig:
        """The first trial of a search by itself: the paper's values, with what ``--set`` says."""
        point = start_point(0, self.space, self.paper, self.config.seed)
        return self.trial(pair, 0, point, origin="given", is_paper_point=self.covers_paper)
