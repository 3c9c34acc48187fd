"""The labelled objective: ``oracle`` searches maximise it, label rows choose their epoch by it."""

import math

from harness.evaluation.vault import unseal


def mean_over_directions(sealed: str, metric: str) -> float:
    """Mean of a metric over the directions in which a pair is scored; NaN where one lacks it."""
    values = [metrics.get(metric, math.nan) for metrics in unseal(sealed).values()]
    return sum(values) / len(values)
