"""Label-free scores of an embedding of two domains.

Importing the package registers the validators of every file in it.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
