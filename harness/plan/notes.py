"""What a user should know of a study before it starts, one sentence each."""

from collections.abc import Collection, Mapping, Sequence

from harness.config import ParameterValue
from harness.methods import Method, PairShape
from harness.methods.recipe import Recipe, first_active_epochs
from harness.plan.start_points import start_point
from harness.plan.study_plan import StudyPlan
from harness.training.batches import batch_size_for, steps_per_epoch

HALF_WAY = 0.5
"""Share of its way that the scored encoder should go at least."""


def idle_parameters(recipe: Recipe, epochs: int) -> set[str]:
    """Parameters of stages, clusterings and losses that do not act within these epochs."""
    declared: set[str] = set()
    for stage in recipe.stages:
        if stage.clustering is not None:
            declared |= set(stage.clustering.parameters)
        for term in stage.terms:
            declared |= set(term.parameters)
    return declared - set(first_active_epochs(recipe, epochs))


def study_notes(
    plan: StudyPlan, smallest: int, sizes: Sequence[tuple[int, ...]], idle: Collection[str] = ()
) -> list[str]:
    """What differs from the paper, what was cut to the data, what has no effect.

    Args:
        plan: the study.
        smallest: images of the smallest domain of the data set.
        sizes: images of both domains of every pair of the run.
        idle: parameters that would be searched if they acted in the study's epochs.
    """
    study, method = plan.config, plan.method
    point = start_point(0, plan.space, plan.paper, study.seed)
    values = method.resolve(study.preset, plan.source, {**plan.fixed, **point})
    shape = PairShape(smallest, smallest, study.batch_size)
    recipe = method.build(values, shape)
    notes = [*recipe.notes]
    differing = _other_than_paper(method, plan.source, values, plan)
    if differing:
        notes.append(f"{method.name}: not as in the paper: {differing}.")
    cut = [
        f"{name} {_show(plan.paper[name])} -> {_show(value)}"
        for name, value in point.items()
        if value != plan.paper[name]
    ]
    if cut:
        notes.append(
            f"{method.name}: the first point is cut to the ranges ({', '.join(cut)}), so there "
            "will be no paper row."
        )
    fixed = idle_parameters(recipe, study.epochs) & set(plan.config.fixed)
    for names, consequence in ((fixed, ""), (idle, " and {are} not searched")):
        if names and method.trains:
            acts, them, are = ("acts", "it", "is") if len(names) == 1 else ("act", "them", "are")
            notes.append(
                f"{method.name}: within {study.epochs} epoch{'s' if study.epochs > 1 else ''} "
                f"{', '.join(sorted(names))} never {acts}{consequence.format(are=are)}; "
                f"more --epochs would let {them}."
            )
    notes += _momentum_note(plan, recipe, sizes)
    return notes


def _momentum_note(plan: StudyPlan, recipe: Recipe, sizes: Sequence[tuple[int, ...]]) -> list[str]:
    """With momentum m the scored encoder goes 1 - m^S of the way in S steps."""
    if recipe.momentum_encoder is None or recipe.scored != "momentum" or not plan.method.trains:
        return []
    momentum = recipe.momentum_encoder.momentum
    study = plan.config
    steps = study.epochs * min(
        steps_per_epoch(batch_size_for(study.batch_size, *of_pair), *of_pair) for of_pair in sizes
    )
    share = 1 - momentum**steps
    if share >= HALF_WAY:
        return []
    return [
        f"{plan.method.name}: too short to move much: {steps} steps at encoder momentum "
        f"{momentum:g} take the scored encoder {share:.0%} of its way; give more --epochs, or a "
        "smaller momentum by --set encoder_momentum=0.9."
    ]


def _other_than_paper(
    method: Method, source: str, values: Mapping[str, ParameterValue], plan: StudyPlan
) -> str:
    """Values that the paper's own preset would have, against those of this study."""
    theirs = method.resolve("paper", source, plan.paper)
    parts = [
        f"{name} {_show(values[name])} (paper: {_show(theirs[name])})"
        for name in sorted(values)
        if values[name] != theirs[name] and name not in plan.space
    ]
    if plan.config.weights == "random" and method.trains:
        parts.append("random initial weights")
    return ", ".join(parts)


def _show(value: ParameterValue) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
