"""From a proposal to a trial's configuration, and from a trial's record to its outcome."""

import math
from collections.abc import Mapping

from optuna.trial import TrialState

from harness.config import ParameterValue, TrialConfig
from harness.datasets.scenario import training_order
from harness.records import TrialRecord
from harness.search.proposals import Outcome, Proposal, StudyPlan
from harness.search.samplers import directions
from harness.search.start_points import start_point
from harness.seeds import derive_seed
from harness.training.counterpart import make_trial_id


def make_trial_config(
    plan: StudyPlan,
    pair: tuple[str, str],
    number: int,
    searched: Mapping[str, ParameterValue],
    *,
    origin: str,
    is_paper_point: bool,
) -> TrialConfig:
    """The trial of these searched values; seeds are functions of (study seed, pair, number).

    Of the pair as it is trained (:func:`harness.datasets.scenario.training_order`): what the
    scenarios ``partial`` and ``open`` share has the same seeds.
    """
    study = plan.config
    params = plan.method.resolve(study.preset, plan.source, {**plan.fixed, **searched})
    return TrialConfig(
        study=study,
        trial_id=make_trial_id(study, pair, number),
        number=number,
        pair=pair,
        params=params,
        searched=tuple(sorted(plan.space)),
        origin=origin,
        is_paper_point=is_paper_point,
        init_seed=derive_seed(study.seed, "initial weights"),
        seed=derive_seed(study.seed, *training_order(study.scenario, pair), number, "trial"),
    )


def first_config(plan: StudyPlan, pair: tuple[str, str]) -> TrialConfig:
    """The first trial of a search by itself: the paper's values, with what ``--set`` says."""
    point = start_point(0, plan.space, plan.paper, plan.config.seed)
    return make_trial_config(plan, pair, 0, point, origin="given", is_paper_point=plan.covers_paper)


def config_of(plan: StudyPlan, pair: tuple[str, str], proposal: Proposal) -> TrialConfig:
    """The trial of a proposal on a pair."""
    return make_trial_config(
        plan,
        pair,
        proposal.number,
        proposal.searched,
        origin=proposal.origin,
        is_paper_point=proposal.is_paper_point,
    )


def proposal_of(config: TrialConfig) -> Proposal:
    """The proposal a trial was made from."""
    searched = {name: config.params[name] for name in config.searched}
    return Proposal(config.number, searched, config.origin, config.is_paper_point)


def outcome_of(record: TrialRecord) -> Outcome:
    """What Optuna hears of one trial: the value of its last report, and the truth."""
    value = record.last.objective if record.last is not None else math.nan
    intermediate = {
        report.epoch: report.objective
        for report in record.trained
        if math.isfinite(report.objective)
    }
    if record.status == "failed" or not math.isfinite(value):
        return Outcome(TrialState.FAIL, None, intermediate)
    if record.status == "pruned":
        return Outcome(TrialState.PRUNED, None, intermediate)
    values = [value]
    if len(directions(record.config.study.sampler)) > 1:
        values.append(record.seconds)
    return Outcome(TrialState.COMPLETE, tuple(values), intermediate)
