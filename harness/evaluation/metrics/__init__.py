"""Retrieval metrics, one per file; importing the package registers them all."""

from importlib import import_module
from pkgutil import iter_modules

from harness.evaluation.metrics.contract import METRICS, HitRanks, Metric, register_metric

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["METRICS", "HitRanks", "Metric", "register_metric"]
