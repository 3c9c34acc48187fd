"""Label-free scores of an embedding of two domains.

Importing the package registers the validators of every file in it.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

from harness.validators.contract import PairEmbeddings, Validator  # noqa: E402
from harness.validators.registry import (  # noqa: E402
    VALIDATORS,
    get_validator,
    register_validator,
    score_all,
    validator_names,
)

__all__ = [
    "VALIDATORS",
    "PairEmbeddings",
    "Validator",
    "get_validator",
    "register_validator",
    "score_all",
    "validator_names",
]
