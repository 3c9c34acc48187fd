"""Samplers by name. Each is made anew for every proposal, from the proposal's own seed."""

from collections.abc import Callable

from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from harness.errors import UsageError, nearest


def _tpe(seed: int) -> BaseSampler:
    return TPESampler(
        seed=seed, n_startup_trials=5, multivariate=True, constant_liar=True, group=False
    )


def _random(seed: int) -> BaseSampler:
    return RandomSampler(seed=seed)


_SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe(n_startup_trials=5,multivariate,constant_liar)": _tpe,
    "random()": _random,
}


def sampler_names() -> tuple[str, ...]:
    """Names ``--sampler`` takes."""
    return tuple(name.partition("(")[0] for name in _SAMPLERS)


def describe_sampler(name: str) -> str:
    """Name and arguments of a sampler, as the rows record them.

    Raises:
        UsageError: there is none of that name.
    """
    for described in _SAMPLERS:
        if described.partition("(")[0] == name:
            return described
    raise UsageError(f"There is no sampler named '{name}'. {nearest(name, sampler_names())}")


def make_sampler(described: str, seed: int) -> BaseSampler:
    """The sampler of :func:`describe_sampler`, seeded for one proposal (32 bits, as numpy asks)."""
    return _SAMPLERS[described](seed % 2**32)
