"""Conformance checks for one's own losses: importable, raising on the first thing that fails."""

from harness.loss_checks import LossCheckError, check_loss

__all__ = ["LossCheckError", "check_loss"]
