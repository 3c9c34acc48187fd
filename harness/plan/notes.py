"""What a user should know of a study before it starts, one sentence each."""

from collections.abc import Mapping

from harness.config import ParameterValue
from harness.methods import Method, PairShape
from harness.methods.recipe import first_active_epochs
from harness.plan.start_points import start_point
from harness.plan.study_plan import StudyPlan


def study_notes(plan: StudyPlan, smallest: int) -> list[str]:
    """What differs from the paper, what was cut to the data, what has no effect."""
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
    active = first_active_epochs(recipe, study.epochs)
    idle = [
        name for name in sorted({*plan.space, *plan.fixed}) if _never_acts(name, recipe, active)
    ]
    if idle and method.trains:
        acts, them = ("acts", "it") if len(idle) == 1 else ("act", "them")
        notes.append(
            f"{method.name}: within {study.epochs} epoch{'s' if study.epochs > 1 else ''} "
            f"{', '.join(idle)} never {acts}; "
            f"more --epochs would let {them}."
        )
    return notes


def _never_acts(name: str, recipe: object, active: Mapping[str, int]) -> bool:
    declared: set[str] = set()
    for stage in getattr(recipe, "stages", ()):
        if stage.clustering is not None:
            declared |= set(stage.clustering.parameters)
        for term in stage.terms:
            declared |= set(term.parameters)
    return name in declared and name not in active


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
