"""The ``transfer`` protocol: settings chosen by the labels of other pairs, never by a pair's own.

Among the common start trials the setting is taken whose last epoch is best on the donor pairs, in
the mean over them of the mean over directions of the first P@k. Only settings that finished on
every donor and on the pair itself are compared, so that a shift per donor cannot change the choice
and no normalisation is needed; dividing by a donor's spread would give the noise of a pair that
learns nothing the weight of one that does.
"""

import math
from collections.abc import Mapping, Sequence

from harness.config import Pair
from harness.datasets.scenario import pair_slug
from harness.records import TrialRecord
from harness.selection.protocols import Pick, is_oracle, oracle_value
from harness.selection.start_trials import StartTrials, finished_by_setting

TRANSFER = "transfer"
TRANSFER_SHARED = "transfer:shared"

MIN_SETTINGS = 2
"""With a single setting in common the labels of the donors choose nothing."""


def donor_pairs(pair: Pair, pairs: Sequence[Pair]) -> tuple[str, tuple[Pair, ...]]:
    """Protocol and pairs whose labels may choose for ``pair``.

    Args:
        pair: that is chosen for.
        pairs: all of the study.

    Returns:
        ``transfer`` and the pairs that share no domain with it; where there are none,
        ``transfer:shared`` and all other pairs.
    """
    disjoint = tuple(other for other in pairs if not set(other) & set(pair))
    if disjoint:
        return TRANSFER, disjoint
    return TRANSFER_SHARED, tuple(other for other in pairs if other != pair)


def transfer_pick(
    pair: Pair, start_trials: Mapping[Pair, Sequence[TrialRecord]], first_metric: str
) -> Pick | None:
    """The pick of a pair, or None where it cannot be computed.

    A donor is a pair of :func:`donor_pairs` on which a start trial has finished; ``transfer_from``
    names the donors used.

    Args:
        pair: that is chosen for.
        start_trials: ended start trials of every pair of one study, by number.
        first_metric: the data set's first P@k.
    """
    of_pair = finished_by_setting(start_trials.get(pair, ()))
    if not of_pair or is_oracle(next(iter(of_pair.values()))[0].config.study.objective):
        return None
    protocol, possible = donor_pairs(pair, tuple(start_trials))
    donors = {
        other: values
        for other in possible
        if (
            values := {
                setting: oracle_value(report, first_metric)
                for setting, (_, report) in finished_by_setting(start_trials[other]).items()
            }
        )
    }
    common = [
        setting
        for setting in of_pair
        if all(math.isfinite(values.get(setting, math.nan)) for values in donors.values())
    ]
    if not donors or len(common) < MIN_SETTINGS:
        return None
    chosen = max(common, key=lambda s: math.fsum(v[s] for v in donors.values()) / len(donors))
    names = ",".join(sorted(pair_slug(*other) for other in donors))
    return Pick(protocol, *of_pair[chosen], transfer_from=names)


class TransferPicks:
    """The transfer picks of a running search, and which of them new trials have changed.

    Args:
        start: the start trials that the search keeps up to date.
        first_metric: the data set's first P@k.
    """

    def __init__(self, start: StartTrials, first_metric: str) -> None:
        self._start = start
        self._first_metric = first_metric
        self._picks: dict[tuple[str, Pair], Pick | None] = {}
        self._stale = {
            (study_id, pair) for study_id in start.study_ids for pair in start.by_pair(study_id)
        }

    def start_trial_ended(self, record: TrialRecord) -> None:
        """Notes that the picks of a trial's own pair and of those that learn from it may change."""
        study_id, ended = record.config.study.study_id, record.config.pair
        pairs = tuple(self._start.by_pair(study_id))
        self._stale |= {
            (study_id, pair)
            for pair in pairs
            if pair == ended or ended in donor_pairs(pair, pairs)[1]
        }

    def of(self, study_id: str, pair: Pair) -> list[Pick]:
        """The pick of a study on a pair: one, or none."""
        key = (study_id, pair)
        if key in self._stale or key not in self._picks:
            self._stale.discard(key)
            by_pair = self._start.by_pair(study_id)
            self._picks[key] = transfer_pick(pair, by_pair, self._first_metric)
        pick = self._picks[key]
        return [] if pick is None else [pick]

    def refreshed(self) -> set[tuple[str, Pair]]:
        """Brings all picks up to date; returns (study id, pair) of those that are others now."""
        changed = set()
        for key in sorted(self._stale):
            before = _identity(self._picks.get(key))
            if _identity(next(iter(self.of(*key)), None)) != before:
                changed.add(key)
        return changed


def _identity(pick: Pick | None) -> tuple[str, str, str] | None:
    if pick is None:
        return None
    return (pick.protocol, pick.trial.config.trial_id, pick.transfer_from)
