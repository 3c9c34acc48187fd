"""A driver that a test moves by hand, with made-up reports."""

from study_examples import CONTEXT, toy_index

from harness.evaluation.vault import LabelVault
from harness.leaderboard.store import ResultsStore
from harness.records import EpochRecord, TrialRecord
from harness.search.driver import SearchDriver

PAIR = ("a", "b")
SEALED = LabelVault([0, 1, 0], [1, 0, 1], (1, 5, 15)).chance()


def driver(folder, *plans, pairs=(PAIR,), **options):
    """A driver with the lock of its results folder; close its store at the end."""
    store = ResultsStore(folder, "toy", (1, 5, 15))
    store.open_for_writing(toy_index())
    return SearchDriver(plans, pairs, toy_index(), store, folder / "storage", CONTEXT, **options)


def report(config, epoch, objective, sealed=SEALED, seconds=0.1):
    """What a trial sends after an epoch."""
    record = EpochRecord(epoch=epoch, objective=objective, sealed=sealed, seconds=seconds)
    return TrialRecord(config=config, epochs={epoch: record}, host="h", device="cpu", batch_size=16)


def failed(config, error="ValueError", text="no", frame="", trace=""):
    """What is known of a trial whose process raised."""
    return TrialRecord(
        config=config,
        status="failed",
        error_type=error,
        error_last_line=text,
        error_frame=frame,
        error_trace=trace,
    )
