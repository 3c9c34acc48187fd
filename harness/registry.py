"""Things by name: losses, methods, validators, metrics, data sets, clustering rules, readouts."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar, cast

from harness.errors import UsageError, nearest

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""A name is part of folder names, file names and ids, whose parts a dot separates."""

OUR_PACKAGES = ("harness", "losses", "models")

Item = TypeVar("Item")
Registered = TypeVar("Registered")


class Registry(Generic[Item]):
    """The things of one kind, in the order in which they were registered.

    What is registered again under its own name (as when its file is read again) replaces the
    former; another thing under a name that is taken is refused.
    """

    def __init__(self, kind: str, *, accepts: re.Pattern[str] = NAME) -> None:
        """Begins with nothing.

        Args:
            kind: what the things are called in a message, such as ``loss``.
            accepts: pattern of the whole of a name.
        """
        self.kind = kind
        self._accepts = accepts
        self._items: dict[str, Item] = {}

    def add(self, name: str, item: Item) -> Item:
        """Makes a thing known under a name.

        Raises:
            UsageError: the name cannot be one, or another thing has it.
        """
        if not self._accepts.fullmatch(name):
            raise UsageError(
                f"The {self.kind} name '{name}' cannot be used: it takes letters, digits, _ and -, "
                "and begins with a letter or digit."
            )
        taken = self._items.get(name)
        if taken is not None and taken != item and _origin(taken) != _origin(item):
            module = _origin(taken)[0]
            by = f" by {module}" if module else ""
            raise UsageError(f"The {self.kind} name '{name}' is taken{by}.")
        self._items[name] = item
        return item

    def decorator(self, name: str) -> Callable[[Registered], Registered]:
        """Decorator of a class or function: makes it known under a name."""

        def register(item: Registered) -> Registered:
            self.add(name, cast(Item, item))  # what is decorated keeps its own type
            return item

        return register

    @contextmanager
    def restored_afterwards(self) -> Iterator[None]:
        """Forgets at its end what was registered meanwhile, as a test wants."""
        before = dict(self._items)
        try:
            yield
        finally:
            self._items = before

    def names(self) -> tuple[str, ...]:
        """The names, in the order of registration."""
        return tuple(self._items)

    def built_in(self) -> tuple[str, ...]:
        """The names of what this project brings, nothing from a plug-in, in the same order."""
        return tuple(name for name, item in self._items.items() if is_ours(_origin(item)[0]))

    def __getitem__(self, name: str) -> Item:
        """The thing of that name.

        Raises:
            UsageError: there is none; the sentence names the nearest.
        """
        if name not in self._items:
            known = sorted(self._items)
            raise UsageError(f"There is no {self.kind} named '{name}'. {nearest(name, known)}")
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


def is_ours(module: str) -> bool:
    """Whether a module belongs to this project, and not to a plug-in."""
    return module.partition(".")[0] in OUR_PACKAGES


def _origin(item: Any) -> tuple[str, str]:
    """Module and name of the class or function that was registered, or that the thing is made of.

    Plain data, such as the declaration of a data set, comes from nowhere and is known by its value.
    """
    defined = getattr(item, "defined_by", item)
    if not hasattr(defined, "__qualname__"):
        return "", repr(defined)
    return defined.__module__, defined.__qualname__
