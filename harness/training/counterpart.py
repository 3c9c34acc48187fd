"""The trial of the other scenario that a training serves as well.

The training {A half, B whole} is scored from A to B in ``partial`` and from B to A in ``open``. Two
studies that differ in the scenario alone propose the same settings with the same seeds, for no
proposal, stop or label-free pick looks at the scored direction. So whichever is searched first
scores both directions, and the other takes the trials over (:mod:`harness.search.counterparts`).
"""

from dataclasses import replace

from harness.config import StudyConfig, TrialConfig
from harness.datasets.scenario import COUNTERPART, pair_slug

SEARCHED = ("start", "warm", "proposed")


def make_trial_id(study: StudyConfig, pair: tuple[str, str], number: int) -> str:
    """Identity of a search's trial, from which its file is named."""
    return f"{study.study_id}.{pair_slug(*pair)}.{number:04d}"


def counterpart_study(study: StudyConfig) -> StudyConfig | None:
    """The study of the other scenario with the same trainings; None where there is none.

    There is none in ``close``, and none for an ``oracle`` objective: it reads the labels of the
    scored direction, so the two searches go different ways.
    """
    if study.scenario not in COUNTERPART or study.objective.partition(":")[0] == "oracle":
        return None
    return replace(study, scenario=COUNTERPART[study.scenario])


def counterpart_config(config: TrialConfig) -> TrialConfig | None:
    """The trial of the other scenario that this one's training is; None where there is none.

    Confirmations and trainings outside a search have none.
    """
    study = counterpart_study(config.study)
    if study is None or config.confirms or config.origin not in SEARCHED:
        return None
    pair = (config.pair[1], config.pair[0])
    return replace(
        config, study=study, pair=pair, trial_id=make_trial_id(study, pair, config.number)
    )
