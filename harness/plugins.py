"""What comes from outside: a file given by ``--loss-module``, or an installed package.

Both register what they bring when they are imported (docs/extending.md). A file travels to the
workers as its text, so it need not lie on every node.
"""

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.errors import UsageError
from harness.methods.recipe import Recipe
from harness.methods.registry import Method
from harness.registry import is_ours
from harness.source_digest import digest_of_modules
from harness.training.clusterings.contract import CLUSTERINGS
from harness.training.readouts import READOUTS
from losses.contract import loss_class

ENTRY_POINTS = "uxretrieval_harness.plugins"
COMPUTING = (
    "losses",
    "harness.methods",
    "harness.training.clusterings",
    "harness.training.kmeans",
    "harness.training.readouts",
)
"""Packages and modules whose source decides what a method computes, apart from the loop itself."""

NOT_COMPUTING = ("harness.methods.registry", "harness.methods.space")
"""Of these the parts that only hold methods and ranges; ranges stand in a study's identity."""


@dataclass(frozen=True)
class PluginFile:
    """A Python file from outside.

    Attributes:
        path: where it was read, for messages.
        source: its bytes.
    """

    path: str
    source: bytes

    @property
    def digest(self) -> str:
        """Hexadecimal sha256 of the file."""
        return hashlib.sha256(self.source).hexdigest()

    @property
    def module_name(self) -> str:
        """Name it is imported under, of the same file the same everywhere."""
        return f"uxretrieval_plugin_{self.digest[:16]}"

    def load(self) -> None:
        """Imports the file, once per process.

        Raises:
            UsageError: it cannot be imported, or registers a name that is taken.
        """
        if self.module_name in sys.modules:
            return
        module = ModuleType(self.module_name)
        module.__file__ = self.path
        sys.modules[self.module_name] = module
        try:
            exec(compile(self.source, self.path, "exec"), module.__dict__)
        except UsageError as error:
            del sys.modules[self.module_name]
            raise UsageError(f"The loss module {self.path} cannot be used: {error}") from error
        except Exception as error:
            del sys.modules[self.module_name]
            raise UsageError(
                f"The loss module {self.path} cannot be imported: {type(error).__name__}: {error}."
            ) from error


def load_plugins(path: Path | None) -> PluginFile | None:
    """Imports the installed packages' plugins and the file, if one is given.

    Raises:
        UsageError: the file cannot be read or imported, or a package's plugin cannot.
    """
    load_entry_points()
    if path is None:
        return None
    try:
        plugin = PluginFile(str(path), path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"The loss module {path} cannot be read ({error.strerror}); give --loss-module a "
            "Python file."
        ) from error
    plugin.load()
    return plugin


@cache
def load_entry_points() -> None:
    """Imports what installed packages name in the group ``uxretrieval_harness.plugins``.

    Raises:
        UsageError: a package's plugin cannot be imported.
    """
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            entry.load()
        except Exception as error:
            raise UsageError(
                f"The plugin '{entry.name}' ({entry.value}) cannot be imported: "
                f"{type(error).__name__}: {error}. Mend or uninstall its package."
            ) from error


def method_digest(method: Method, recipe: Recipe, plugin: PluginFile | None) -> str:
    """Hash of what makes a method compute what it computes: part of the identity of a study.

    It covers the source of the method's file and of its losses, clustering rules and readouts, of
    what these import from one another, and of the plug-in file or package that any of them comes
    from. Parameter values are not in it: a study searches them, and its ranges and fixed values
    stand beside the digest. Comments, docstrings and the folder do not count.

    Args:
        method: the method.
        recipe: it with any parameters; its losses, rules and readouts are read.
        plugin: the file of ``--loss-module``, or None.

    Raises:
        UsageError: something was not registered from a file, so that a change would go unseen.
    """
    roots = {method.parameters.__module__, _module_of(method.recipe), *_modules_named_by(recipe)}
    packages = {name.partition(".")[0] for name in roots if not is_ours(name)}

    def follow(name: str) -> bool:
        if name.partition(".")[0] in packages:
            return True
        return name not in NOT_COMPUTING and any(
            name == package or name.startswith(f"{package}.") for package in COMPUTING
        )

    def given(name: str) -> bytes | None:
        return plugin.source if plugin is not None and name == plugin.module_name else None

    try:
        return digest_of_modules(roots, follow, given)
    except LookupError as error:
        raise UsageError(
            f"The module {error.args[0]} has no source file, so its results could not be told from "
            "those of another version; register methods from a .py file."
        ) from error


def _modules_named_by(recipe: Recipe) -> set[str]:
    """The modules of a recipe's losses, clustering rules and readouts."""
    named: set[str] = set()
    for stage in recipe.stages:
        named |= {_module_of(loss_class(term.loss)) for term in stage.terms}
        if stage.clustering is not None:
            named.add(_module_of(CLUSTERINGS[stage.clustering.rule]))
    rules = (recipe.readout.rule, recipe.readout.detector_rule)
    return named | {_module_of(READOUTS[rule]) for rule in rules if rule is not None}


def _module_of(item: Callable[..., Any]) -> str:
    return item.func.__module__ if isinstance(item, partial) else item.__module__
