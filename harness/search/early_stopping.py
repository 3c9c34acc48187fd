"""Asynchronous successive halving within a pair, derived from the records alone.

It keeps no state of its own: after a restart the same records give the same decisions.
"""

import math
from collections.abc import Iterable

from harness.methods import PairShape, get_method
from harness.methods.recipe import first_active_epochs
from harness.records import EpochRecord, TrialRecord

ETA = 3
DESCRIPTION = f"halving(eta={ETA})"


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


def first_non_finite(record: TrialRecord) -> EpochRecord | None:
    """The first report of a trained epoch whose objective is NaN or infinite; None without one.

    The untrained state does not count: ``cluster_stability`` has no value without an epoch before.
    Every score has one after each trained epoch, unless the trial or the data is beyond mending.
    """
    return next((held for held in record.trained if not math.isfinite(held.objective)), None)


def should_stop(record: TrialRecord, peers: Iterable[TrialRecord], reported: Iterable[int]) -> bool:
    """Whether a trial that just reported an epoch is to be stopped.

    An objective that is not finite stops any trial at once, whatever the sampler, the scope or the
    trial's origin: comparisons with NaN are false, so that no rung would (field-notes F1).

    Otherwise it is compared with the trials of the same study and pair at the same rung and goes
    on only among the best ``1/ETA`` of them. Common start trials are not compared; a rung with
    fewer than ``ETA`` values stops nobody.

    Args:
        record: the trial with all its reports.
        peers: trials of the same study and pair, ended or running.
        reported: the epochs it just reported; several after a restart.
    """
    if first_non_finite(record) is not None:
        return True
    if record.config.study.early_stopping != DESCRIPTION or record.config.origin == "start":
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
    values = [held for held in values if math.isfinite(held)]
    if len(values) + 1 < ETA:
        return False
    kept = max(1, (len(values) + 1) // ETA)
    return sum(held > value for held in values) >= kept
