"""``mAP@All.voc_class_macro``: area under the monotone envelope of precision over recall.

VOC 2010, mean over the queries of a class, then over classes: the form of CoDA's code.

Shapes: R relevant images of a query.
"""

from functools import lru_cache

import numpy as np

from harness.evaluation.metrics.average_precision import expected_ap
from harness.evaluation.metrics.contract import Floats, HitRanks, register_metric

_DRAWS = 200  # random rankings behind each expected envelope
_SEED = 20101  # its own: the chance row of a pair is the same in every study


@lru_cache(maxsize=1 << 16)
def expected_voc_ap(n_relevant: int, n_gallery: int, draws: int = _DRAWS) -> float:
    """Expected VOC-2010 average precision of a random ranking, by Monte Carlo with a fixed seed.

    Each draw contributes the gap between the envelope and the curve it covers; the curve's own
    mean is known (``expected_ap``), which leaves less to estimate.

    Args:
        n_relevant: relevant images R, from 1.
        n_gallery: images of the gallery G, at least R.
        draws: random rankings.

    Returns:
        A value in (0, 1].
    """
    if n_relevant == n_gallery:
        return 1.0
    generator = np.random.default_rng([_SEED, n_relevant, n_gallery])
    nth_R = np.arange(1, n_relevant + 1)
    gap = 0.0
    for _ in range(draws):
        place_R = np.sort(generator.choice(n_gallery, n_relevant, replace=False, shuffle=False))
        precision_R = nth_R / (place_R + 1)
        envelope_R = np.maximum.accumulate(precision_R[::-1])
        gap += float(envelope_R.mean() - precision_R.mean())
    return expected_ap(n_relevant, n_gallery) + gap / draws


@register_metric("mAP@All.voc_class_macro", averaged_over="classes", expected=expected_voc_ap)
def voc_average_precision(ranks: HitRanks) -> Floats:
    """Mean over the relevant images of the best precision from each of them on."""
    envelope_BR = np.maximum.accumulate(ranks.precision_BR[:, ::-1], axis=1)
    return ranks.mean(envelope_BR, at_the_end=True)
