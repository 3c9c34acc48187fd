"""Asynchronous successive halving within a pair, derived from the records alone.

It keeps no state of its own: after a restart the same records give the same decisions.
"""

import math
from collections.abc import Iterable

from harness.methods import PairShape, get_method
from harness.methods.recipe import first_active_epochs
from harness.plan.study_plan import HALVING
from harness.records import TrialRecord

ETA = 3


def rungs(first_epoch: int, epochs: int) -> tuple[int, ...]:
    """Completed epochs after which trials are compared.

    The epochs behind ``first_epoch``, in which the last searched parameter begins to act, are cut
    by ``ETA`` again and again: no trial is stopped before every searched parameter has acted for
    a whole rung.
    """
    span = epochs - first_epoch
    found: set[int] = set()
    power = ETA
    while span / power >= 1:
        found.add(first_epoch + math.ceil(span / power))
        power *= ETA
        if len(found) == 3:
            break
    return tuple(sorted(rung for rung in found if rung < epochs))


def rungs_of(record: TrialRecord) -> tuple[int, ...]:
    """The rungs of a trial's study."""
    config = record.config
    method = get_method(config.study.method)
    recipe = method.build(config.params, PairShape(10_000, 10_000, config.study.batch_size))
    active = first_active_epochs(recipe, config.study.epochs)
    first = max((active[name] for name in config.searched if name in active), default=0)
    return rungs(first, config.study.epochs)


def should_stop(record: TrialRecord, peers: Iterable[TrialRecord], reported: Iterable[int]) -> bool:
    """Whether a trial that just reported an epoch is to be stopped.

    An objective that is not finite stops any trial at once, whatever the sampler, the scope or the
    trial's origin: comparisons with NaN are false, so that no rung would.

    Otherwise it is compared with the trials of the same study and pair at the same rung and goes
    on only among the best ``1/ETA`` of them. Common start trials are not compared; a rung with
    fewer than ``ETA`` values stops nobody.

    Args:
        record: the trial with all its reports.
        peers: trials of the same study and pair, ended or running.
        reported: the epochs it just reported; several after a restart.
    """
    if record.first_non_finite:
        return True
    if record.config.study.early_stopping != HALVING or record.config.origin == "start":
        return False
    peers = list(peers)
    at_rungs = set(rungs_of(record))
    return any(_loses(record, peers, epoch) for epoch in sorted(reported) if epoch in at_rungs)


def _loses(record: TrialRecord, peers: list[TrialRecord], epoch: int) -> bool:
    value = record.epochs[epoch].objective
    values = [
        peer.epochs[epoch].objective
        for peer in peers
        if peer is not record and epoch in peer.epochs
    ]
    values = [other for other in values if math.isfinite(other)]
    if len(values) + 1 < ETA:
        return False
    kept = max(1, (len(values) + 1) // ETA)
    return sum(other > value for other in values) >= kept
