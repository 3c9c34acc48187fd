"""``mAP@All``: non-interpolated average precision over the whole ranking."""

import numpy as np

from harness.evaluation.metrics.contract import Floats, HitRanks, register_metric

AVERAGE_PRECISION = "mAP@All"


def expected_ap(n_relevant: int, n_gallery: int) -> float:
    """Expected non-interpolated average precision of a random ranking, exactly.

    Place i is relevant with probability R / G; given that, each of the i - 1 places before it is
    relevant with probability (R - 1) / (G - 1). Summed over places, with H the harmonic number of
    G: (H + (R - 1) / (G - 1) * (G - H)) / G.

    Args:
        n_relevant: relevant images R, from 1.
        n_gallery: images of the gallery G, at least R.

    Returns:
        A value in (0, 1].
    """
    if n_relevant == n_gallery:
        return 1.0
    harmonic = float((1 / np.arange(1, n_gallery + 1)).sum())
    before = (n_relevant - 1) / (n_gallery - 1)
    return (harmonic + before * (n_gallery - harmonic)) / n_gallery


@register_metric(AVERAGE_PRECISION, expected=expected_ap)
def average_precision(ranks: HitRanks) -> Floats:
    """Mean of the precision at each relevant image."""
    return ranks.mean(ranks.precision_BR)
