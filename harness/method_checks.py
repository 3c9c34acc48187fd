"""The conformance check of a method: do its parameters, recipe, presets and ranges fit together?"""

import copy
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass

import torch
from optuna.distributions import FloatDistribution, IntDistribution

from harness.config import ParameterValue
from harness.datasets.frame_store import DomainFrames
from harness.datasets.registry import dataset_names
from harness.errors import UsageError
from harness.methods.recipe import Recipe, first_active_epochs
from harness.methods.registry import Method, PairShape, get_method, method_names
from harness.training.clusterings.contract import CLUSTERINGS
from harness.training.pair_training import LoopSettings, NonFiniteLossError, PairTraining
from harness.training.readouts import READOUTS
from harness.training.views import frame_size
from losses import loss_class
from models.encoder import EncoderSettings, build_encoder

PRESETS = ("paper", "scratch")
SIZES = (20, 2427)
"""Images of the smallest domain for which recipe and ranges are tried."""

LONG = 400
"""Epochs in which every searched parameter must act at some time."""

_IMAGE_SIZE, _BATCH, _IMAGES = 32, 8, (20, 28)


class MethodCheckError(AssertionError):
    """A method breaks the contract; the sentence says which part of it."""


def check_method(method: str | Method) -> None:
    """Checks that a method can be searched, trained and resumed on any data set.

    Its parameters are a frozen dataclass of numbers, texts and truth values with defaults, each of
    the type it has in other methods; presets and ranges name nothing else. Its recipe builds for
    few and many images under both presets, names losses, clustering rules and readouts that are
    registered, comes out the same again, and its stages share the epochs. Each searched parameter
    acts at some time, and the first point of a search has a value for it. Two epochs on made-up
    images train finite weights that differ from the first ones (none where it ``trains`` nothing),
    and a training that goes on from its state after the first comes out the same.

    Args:
        method: a registered name, or the method.

    Raises:
        MethodCheckError: the first thing that does not fit, in one sentence.
        UsageError: no method has the name.
    """
    chosen = get_method(method) if isinstance(method, str) else method
    _check_parameters(chosen)
    for dataset in dataset_names():
        for n in SIZES:
            _check_settings(chosen, dataset, n)
    _check_training(chosen)


def _check_parameters(method: Method) -> None:
    kind = method.parameters
    is_frozen = is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    _require(method, is_frozen, "its parameters are no frozen dataclass")
    for item in fields(kind):
        has_default = item.default is not MISSING or item.default_factory is not MISSING
        _require(method, has_default, f"its parameter '{item.name}' has no default")
    elsewhere = {
        name: (other, type_)
        for other in method_names()
        if other != method.name
        for name, type_ in get_method(other).parameter_types().items()
    }
    for name, type_ in method.parameter_types().items():
        plain = type_ in (int, float, str, bool)
        _require(method, plain, f"its parameter '{name}' is no number, text or truth value")
        other, usual = elsewhere.get(name, ("", type_))
        _require(
            method,
            type_ is usual,
            f"its parameter '{name}' is of type {type_.__name__}, in '{other}' of {usual.__name__}",
        )
    missing = [preset for preset in PRESETS if preset not in method.presets]
    _require(method, not missing, f"it has no preset {' and no '.join(missing)}")


def _check_settings(method: Method, dataset: str, n: int) -> None:
    types, ranges = method.parameter_types(), method.space(n)
    unknown = sorted({*ranges, *method.first(dataset, n)} - set(types))
    _require(method, not unknown, f"it searches {unknown}, which are none of its parameters")
    try:
        paper = method.paper_point(dataset, n)
        for preset in PRESETS:
            values = method.resolve(preset, dataset, _inside(method, paper, n))
            _check_recipe(method, values, n)
    except UsageError as error:
        raise MethodCheckError(
            f"The method '{method.name}' refuses its own values on {dataset} with {n} images: "
            f"{error}"
        ) from error


def _inside(
    method: Method, paper: Mapping[str, ParameterValue], n: int
) -> dict[str, ParameterValue]:
    """The paper's values, numbers cut to the ranges."""
    inside = dict(paper)
    for name, values in method.space(n).items():
        value = paper[name]
        if isinstance(values, IntDistribution | FloatDistribution) and not isinstance(value, str):
            inside[name] = min(max(value, values.low), values.high)
    return inside


def _check_recipe(method: Method, values: Mapping[str, ParameterValue], n: int) -> None:
    shape = PairShape(n, n + 8, 16)
    recipe = method.build(values, shape)
    _require(method, recipe == method.build(values, shape), "its recipe differs each time")
    total = sum(stage.share for stage in recipe.stages)
    _require(
        method,
        math.isclose(total, method.trains),
        f"the shares of its stages add up to {total:g}, not to {float(method.trains):g}",
    )
    _check_names(recipe)
    acting = first_active_epochs(recipe, LONG)
    unknown = sorted(set(acting) - set(method.parameter_types()))
    _require(method, not unknown, f"its recipe names {unknown}, which are none of its parameters")
    idle = sorted(set(method.space(n)) - set(acting))
    _require(method, not idle, f"{idle} are searched but named by no term that acts")


def _check_names(recipe: Recipe) -> None:
    """Raises UsageError for a loss, a clustering rule or a readout that there is not."""
    for stage in recipe.stages:
        for term in stage.terms:
            loss_class(term.loss)
        if stage.clustering is not None:
            CLUSTERINGS[stage.clustering.rule]
    READOUTS[recipe.readout.rule]
    READOUTS[recipe.readout.detector_rule or recipe.readout.rule]


def _check_training(method: Method) -> None:
    try:
        training = _begun(method)
        before = copy.deepcopy(training.encoder.state_dict())
        training.run_epoch()
        state = copy.deepcopy(training.state_dict())
        reports = training.run_epoch()
        resumed = _begun(method)
        resumed.load_state_dict(state)
        resumed.run_epoch()
    except NonFiniteLossError as error:
        raise MethodCheckError(f"The method '{method.name}' cannot be trained: {error}") from error
    finite = all(map(math.isfinite, reports.values()))
    _require(method, finite, "a mean that it logs is not finite")
    moved = any(
        not torch.equal(value, before[name]) for name, value in training.encoder.named_parameters()
    )
    sentence = "moves no weight in two epochs" if method.trains else "moves weights"
    _require(method, moved == method.trains, f"it {sentence}")
    same = map(torch.equal, training.embeddings, resumed.embeddings)
    _require(method, all(same), "a training that goes on from its state comes out otherwise")


def _begun(method: Method) -> PairTraining:
    """A training of two epochs on random images."""
    draws = torch.Generator().manual_seed(0)
    side = frame_size(_IMAGE_SIZE)
    frames = [
        DomainFrames(
            name,
            torch.randint(256, (n, 3, side, side), generator=draws).to(torch.uint8),
            torch.full((n, 2), float(side)),
        )
        for name, n in zip("ab", _IMAGES, strict=True)
    ]
    n = min(_IMAGES)
    point = _inside(method, method.paper_point("shapes", n), n)
    recipe = method.build(
        method.resolve("scratch", "shapes", point), PairShape(*_IMAGES, batch_size=_BATCH)
    )
    settings = EncoderSettings(
        backbone="test_resnet",
        image_size=_IMAGE_SIZE,
        embedding_size=recipe.embedding_size,
        head=recipe.head,
    )
    loop = LoopSettings(
        epochs=2, batch_size=_BATCH, image_size=_IMAGE_SIZE, precision="fp32", seed=0
    )
    encoder = build_encoder(settings, "random", seed=0)[0]
    return PairTraining(recipe, loop, encoder, frames[0], frames[1], torch.device("cpu"))


def _require(method: Method, holds: bool, sentence: str) -> None:
    if not holds:
        raise MethodCheckError(f"The method '{method.name}': {sentence}.")
