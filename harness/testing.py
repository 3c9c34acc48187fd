"""Conformance checks for what one adds: importable, raising on the first thing that fails."""

from harness.dataset_checks import DatasetCheckError, check_dataset
from harness.loss_checks import LossCheckError, check_loss
from harness.method_checks import MethodCheckError, check_method

__all__ = [
    "DatasetCheckError",
    "LossCheckError",
    "MethodCheckError",
    "check_dataset",
    "check_loss",
    "check_method",
]
