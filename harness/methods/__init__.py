"""Methods; importing this package registers those that the project brings."""

from harness.methods import ucdir as ucdir
from harness.methods.recipe import Recipe
from harness.methods.registry import Method, PairShape, get_method, method_names, register_method

__all__ = ["Method", "PairShape", "Recipe", "get_method", "method_names", "register_method"]
