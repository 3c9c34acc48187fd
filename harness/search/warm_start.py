"""Warm start: what was best on finished pairs is tried early on the next one (``--warm-start``).

After the common start trials a pair tries a few settings that the study's own objective liked best
on other pairs; the sampler learns from them as from any trial. Pairs are then served one after
another instead of in turn, so that there are finished ones to learn from.
"""

from collections.abc import Mapping, Sequence

from harness.config import ParameterValue
from harness.leaderboard.protocols import best
from harness.records import TrialRecord
from harness.search.pair_search import PairSearch

Pair = tuple[str, str]
Searched = dict[str, ParameterValue]

PER_PAIR = 3
"""Settings taken from one finished pair at most."""


def warm_settings(pair: Pair, finished: Mapping[Pair, Sequence[TrialRecord]]) -> list[Searched]:
    """Settings for ``pair`` in the order of trying: the best of every finished pair, the second
    best of every one, and so on; pairs that share a domain with ``pair`` first.

    Only orders within a pair are used: the objective's values on two pairs cannot be compared.

    Args:
        pair: that starts.
        finished: ended trials of the same study on pairs that are done.
    """
    donors = [other for other in finished if other != pair]
    donors.sort(key=lambda other: not set(other) & set(pair))
    ordered = [_best_settings(finished[other]) for other in donors]
    settings: list[Searched] = []
    for place in range(PER_PAIR):
        for of_pair in ordered:
            if place < len(of_pair) and of_pair[place] not in settings:
                settings.append(of_pair[place])
    return settings


def _best_settings(records: Sequence[TrialRecord]) -> list[Searched]:
    final = [(r, r.last) for r in records if r.status == "finished" and r.last is not None]
    found: list[Searched] = []
    while len(found) < PER_PAIR:
        held = best(final, lambda report: report.objective)
        if held is None:
            break
        final.remove(held)
        config = held[0].config
        found.append({name: config.params[name] for name in config.searched})
    return found


class WarmStart:
    """The finished pairs of a running search.

    Args:
        searches: of this run; the list may still grow.
        earlier: ended trials of the same studies on pairs that are not in this run.
    """

    def __init__(self, searches: Sequence[object], earlier: Sequence[TrialRecord]) -> None:
        self._searches = searches
        self._earlier: dict[str, dict[Pair, list[TrialRecord]]] = {}
        for record in sorted(earlier, key=lambda record: record.config.trial_id):
            of_study = self._earlier.setdefault(record.config.study.study_id, {})
            of_study.setdefault(record.config.pair, []).append(record)

    def settings(self, study_id: str, pair: Pair) -> list[Searched]:
        """:func:`warm_settings` of a study for a pair, as of now."""
        finished: dict[Pair, list[TrialRecord]] = dict(self._earlier.get(study_id, {}))
        for search in self._searches:
            if (
                isinstance(search, PairSearch)
                and search.plan.config.study_id == study_id
                and not search.missing
                and not search.running
            ):
                records = search.records[search.pairs[0]]
                finished[search.pairs[0]] = [records[number] for number in sorted(records)]
        return warm_settings(pair, finished)
