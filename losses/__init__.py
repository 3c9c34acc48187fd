"""The losses, one per file of this folder; importing the package registers them all."""

from importlib import import_module
from pkgutil import iter_modules

from losses.contract import (
    Clustering,
    DomainView,
    Loss,
    MergedPrototypes,
    StepContext,
    create_loss,
    loss_class,
    loss_names,
    register_loss,
)

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "Clustering",
    "DomainView",
    "Loss",
    "MergedPrototypes",
    "StepContext",
    "create_loss",
    "loss_class",
    "loss_names",
    "register_loss",
]
