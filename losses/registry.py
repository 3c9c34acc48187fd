"""The losses by name. A file of this folder adds its loss with ``@register_loss("name")``."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from harness.errors import UsageError, nearest
from losses.contract import Loss

LossClass = TypeVar("LossClass", bound=type[Loss])

_LOSSES: dict[str, type[Loss]] = {}


def register_loss(name: str) -> Callable[[LossClass], LossClass]:
    """Class decorator: makes a loss known under ``name``.

    Raises:
        ValueError: another class holds the name already.
    """

    def register(cls: LossClass) -> LossClass:
        held = _LOSSES.get(name)
        if held is not None and (held.__module__, held.__qualname__) != (
            cls.__module__,
            cls.__qualname__,
        ):
            raise ValueError(f"the loss name '{name}' is taken by {held.__module__}")
        _LOSSES[name] = cls
        return cls

    return register


def loss_names() -> tuple[str, ...]:
    """The registered names, sorted."""
    return tuple(sorted(_LOSSES))


def loss_class(name: str) -> type[Loss]:
    """The class registered under ``name``.

    Raises:
        UsageError: no loss has the name.
    """
    if name not in _LOSSES:
        raise UsageError(f"There is no loss named '{name}'. {nearest(name, loss_names())}")
    return _LOSSES[name]


def create_loss(name: str, **arguments: Any) -> Loss:
    """Builds a loss; an argument it does not take is an error, never dropped.

    Raises:
        UsageError: unknown name or unknown argument.
    """
    cls = loss_class(name)
    accepted = inspect.signature(cls).parameters
    for argument in arguments:
        if argument not in accepted:
            raise UsageError(
                f"The loss '{name}' takes no argument '{argument}'. {nearest(argument, accepted)}"
            )
    return cls(**arguments)
