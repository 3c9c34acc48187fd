"""Losses and methods from outside: a file given by ``--loss-module``, or an installed package.

Both register what they bring when they are imported (``register_loss``, ``register_method``,
``register_space``). A file travels to the workers as its text, so it need not lie on every node.
"""

import hashlib
import inspect
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from harness.errors import UsageError
from harness.methods.recipe import Recipe
from harness.methods.registry import Method
from losses.contract import loss_class

ENTRY_POINTS = "uxretrieval_harness.plugins"
OWN_PACKAGES = ("harness", "losses", "models")


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
    """Hash of the files from outside that a method or its losses come from; "" without any."""
    modules = {method.parameters.__module__, getattr(method.recipe, "__module__", "")}
    modules |= {loss_class(term.loss).__module__ for s in recipe.stages for term in s.terms}
    digests = [
        _source_digest(name, plugin)
        for name in sorted(modules)
        if name and name.partition(".")[0] not in OWN_PACKAGES
    ]
    if len(digests) < 2:
        return "".join(digests)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _source_digest(module_name: str, plugin: PluginFile | None) -> str:
    if plugin is not None and module_name == plugin.module_name:
        return plugin.digest
    source = inspect.getsourcefile(sys.modules[module_name])
    if source is None:
        raise UsageError(
            f"The module {module_name} has no source file, so its results could not be told from "
            "those of another version; register methods from a .py file."
        )
    return hashlib.sha256(Path(source).read_bytes()).hexdigest()
