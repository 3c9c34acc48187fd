"""Every built-in method fits the contract, and methods that break it are caught."""

from dataclasses import dataclass, replace

import pytest

from harness.method_checks import PRESETS
from harness.methods import Method
from harness.methods.recipe import LossTerm
from harness.methods.registry import METHODS
from harness.methods.space import log_range
from harness.methods.ucdir import InstanceParameters, momentum_frame
from harness.testing import MethodCheckError, check_method


@pytest.mark.parametrize("name", METHODS.built_in())
def test_the_built_in_methods_conform(name):
    check_method(name)


@dataclass(frozen=True, kw_only=True)
class Parameters(InstanceParameters):
    """One parameter more than the frame has."""

    gap: float = 1.0


@dataclass(frozen=True, kw_only=True)
class WithoutDefault(InstanceParameters):
    gap: float


@dataclass(frozen=True, kw_only=True)
class OfOtherType(InstanceParameters):
    K: str = "many"


def naming(*parameters, loss="instance_contrast"):
    """A recipe with one term, through which these parameters act."""
    return lambda p, shape: momentum_frame(
        p, (LossTerm(loss=loss, arguments={"tau": p.tau}, parameters=parameters),), None
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"parameters": WithoutDefault}, "'gap' has no default"),
        ({"parameters": OfOtherType}, "'K' is of type str, in '.*' of int"),
        ({"presets": {"paper": lambda dataset: {}}}, "no preset scratch"),
        ({"presets": dict.fromkeys(PRESETS, lambda dataset: {"gip": 1.0})}, "no parameter 'gip'"),
        ({"space": lambda n: {"gip": log_range(0.1, 1.0)}}, "searches \\['gip'\\]"),
        ({"recipe": naming("tau")}, "\\['gap'\\] are searched but named by no term"),
        ({"recipe": naming("gap", "gip")}, "recipe names \\['gip'\\]"),
        ({"recipe": naming("gap", loss="instance_contrst")}, "no loss named 'instance_contrst'"),
        ({"trains": False}, "stages add up to 1, not to 0"),
        ({"first": lambda dataset, n: {"K": 5}}, "searches \\['K'\\]"),
    ],
)
def test_a_method_that_does_not_fit_is_refused(change, sentence):
    method = Method(
        name="fits",
        summary="for a test",
        parameters=Parameters,
        recipe=naming("tau", "gap"),
        presets=dict.fromkeys(PRESETS, lambda dataset: {}),
        space=lambda n: {"gap": log_range(0.1, 1.0)},
    )
    check_method(method)
    with pytest.raises(MethodCheckError, match=sentence):
        check_method(replace(method, **change))
