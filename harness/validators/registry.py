"""The validators by name. A file of this folder adds its own with :func:`register_validator`."""

from collections.abc import Callable, Iterable

import torch

from harness.registry import Registry
from harness.validators.contract import Direction, PairEmbeddings, Validator

VALIDATORS: Registry[Validator] = Registry("validator")


def register_validator(
    name: str, *, direction: Direction
) -> Callable[[Callable[[PairEmbeddings], float]], Validator]:
    """Decorator: makes a scoring function a validator known under ``name``.

    Raises:
        UsageError: the name cannot be one, or another function has it.
    """

    def register(score: Callable[[PairEmbeddings], float]) -> Validator:
        return VALIDATORS.add(name, Validator(name, direction, score))

    return register


def validator_names() -> tuple[str, ...]:
    """The registered names, sorted."""
    return tuple(sorted(VALIDATORS))


def get_validator(name: str) -> Validator:
    """The validator of that name.

    Raises:
        UsageError: there is none.
    """
    return VALIDATORS[name]


def score_all(embeddings: PairEmbeddings, names: Iterable[str] | None = None) -> dict[str, float]:
    """Scores of one epoch by name; what validators have in common is computed once.

    Args:
        embeddings: of the two domains.
        names: the validators wanted; all of them by default.

    Returns:
        Value by name, in the order asked for (sorted by default). A value that cannot be computed
        is NaN.

    Raises:
        UsageError: an unknown name.
    """
    chosen = [get_validator(name) for name in (validator_names() if names is None else names)]
    with torch.inference_mode():
        return {validator.name: validator(embeddings) for validator in chosen}
