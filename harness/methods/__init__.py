"""Methods, a file each or a file per family; importing the package registers them all."""

from importlib import import_module
from pkgutil import iter_modules

from harness.methods.recipe import Recipe
from harness.methods.registry import Method, PairShape, get_method, method_names, register_method
from harness.methods.space import Space

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "Method",
    "PairShape",
    "Recipe",
    "Space",
    "get_method",
    "method_names",
    "register_method",
]
