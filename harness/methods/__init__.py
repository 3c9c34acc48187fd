"""Methods; importing this package registers those that the project brings."""

from harness.methods import (  # noqa: F401  (imported to register)
    cds,
    coda,
    domain_alignment,
    floor,
    pcs,
    protonce,
    protoot,
    ucdir,
    ucdir_ot,
    uem,
)
from harness.methods.recipe import Recipe
from harness.methods.registry import Method, PairShape, get_method, method_names, register_method

__all__ = ["Method", "PairShape", "Recipe", "get_method", "method_names", "register_method"]
