"""The conformance check of a loss: does it fit the contract of ``losses.contract``?"""

import copy
import inspect
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.errors import UsageError
from harness.loss_examples import (
    EMBEDDING_SIZE,
    POOLED_SIZE,
    SITUATIONS,
    ExampleStep,
    Situation,
    example_step,
)
from losses.contract import DomainView, Loss, StepContext, loss_class, loss_names

_PROVIDED = {"embedding_size": EMBEDDING_SIZE, "pooled_size": POOLED_SIZE}
_USUAL = SITUATIONS[0]


class LossCheckError(AssertionError):
    """A loss breaks the contract; the sentence says which part of it."""


def check_loss(loss: str | type[Loss] | Loss, **arguments: Any) -> None:
    """Checks that a loss can be used by every method and in every scenario.

    Its value is a finite float32 scalar with finite gradients in all of
    ``harness.loss_examples.SITUATIONS`` (unequal batches and prototype counts, an empty cluster,
    one prototype, no clustering yet, half precision, collapsed embeddings, ...); where keys or the
    frozen copy are absent it may raise ``UsageError`` instead. Something is trained: embeddings,
    pooled features or own parameters; nothing flows into keys, banks or prototypes. The order of
    a batch does not matter (not tried where the loss draws from ``step.generator``). No input is
    changed, no value is read back to the host, no global random state or setting of torch is
    touched, two instances do not influence each other. Value and gradients of a step depend on
    the step and the parameters alone: not on the steps before it, and they are the same after a
    state dict went into a fresh instance. What is recorded is declared in ``recorded``. The
    ``Args`` of its docstring are those of its signature, which names each one (no ``*args`` and
    no ``**kwargs``).

    Args:
        loss: a registered name, a class, or an instance (which is copied, never changed).
        arguments: what to build it with; ``embedding_size`` and ``pooled_size`` are filled in
            where the signature has them, as the harness does.

    Raises:
        LossCheckError: the first thing that does not fit, in one sentence.
    """
    subject = _Subject(loss, arguments)
    subject.check_signature()
    subject.check_docstring()
    subject.check_declared_names()
    with _global_state_kept(subject):
        for situation in SITUATIONS:
            subject.check_situation(situation)
    with _global_state_kept(subject):
        subject.check_order_of_the_batch()
        subject.check_independence()
        subject.check_repetition()
        subject.check_state_dict()
    subject.check_no_host_sync()


@contextmanager
def _global_state_kept(subject: "_Subject") -> Iterator[None]:
    def states() -> list[Any]:
        numpy_state = np.random.get_state()  # noqa: NPY002  (the global state is what is checked)
        return [random.getstate(), str(numpy_state), torch.get_rng_state().tolist()]

    before, settings = states(), _torch_settings()
    yield
    for name, old, new in zip(("Python", "numpy", "torch"), before, states(), strict=True):
        if old != new:
            raise subject.error(f"uses the global random state of {name}: draw from step.generator")
    for name, value in _torch_settings().items():
        if value != settings[name]:
            raise subject.error(
                f"changes the {name} of torch, which all losses share, from {settings[name]} to "
                f"{value}"
            )


def _torch_settings() -> dict[str, Any]:
    return {
        "gradient mode": torch.is_grad_enabled(),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "number of threads": torch.get_num_threads(),
        "use of deterministic algorithms": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        "float32 matmul precision": torch.get_float32_matmul_precision(),
        "cudnn settings": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
    }


class _Subject:
    """The loss under test and how to build it anew."""

    def __init__(self, loss: str | type[Loss] | Loss, arguments: Mapping[str, Any]) -> None:
        self.cls = (
            loss_class(loss)
            if isinstance(loss, str)
            else (loss if isinstance(loss, type) else type(loss))
        )
        self.name = self.cls.__name__
        self.recorded: set[str] = set()
        self.make: Callable[[], Loss]
        if isinstance(loss, Loss):
            if arguments:
                raise UsageError("check_loss takes arguments for a class, not for an instance.")
            kept = copy.deepcopy(loss)
            self.make = lambda: copy.deepcopy(kept)
        else:
            accepted = inspect.signature(self.cls).parameters
            given = {n: v for n, v in _PROVIDED.items() if n in accepted} | dict(arguments)
            self.make = lambda: _built(self.cls, given)

    def error(self, sentence: str) -> LossCheckError:
        return LossCheckError(f"The loss {self.name} {sentence}.")

    def ready(self, example: ExampleStep) -> Loss:
        loss = self.make()
        a, b = example.a, example.b
        loss.begin_stage(a.clusterings, b.clusterings, a.bank_ND, b.bank_ND)
        return loss

    def value(self, loss: Loss, a: DomainView, b: DomainView) -> Tensor:
        return loss(a, b, self.step())

    def step(self) -> StepContext:
        return StepContext(
            epoch=3,
            progress=0.5,
            stage="only",
            generator=torch.Generator().manual_seed(0),
            record=lambda name, value: self.recorded.add(name),
        )

    def outcome(self, loss: Loss, example: ExampleStep) -> list[Tensor]:
        """The value of a step, and its gradients for all that is trained."""
        value = self.value(loss, example.a, example.b)
        leaves = [*example.trained.values(), *(p for p in loss.parameters() if p.requires_grad)]
        gradients = torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)
        return [value.detach(), *gradients]

    def check_signature(self) -> None:
        if self.cls.__init__ is nn.Module.__init__:
            return
        for parameter in inspect.signature(self.cls).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise self.error(
                    f"swallows unknown arguments in '{parameter}': name each argument, so that an "
                    "unknown one is an error"
                )

    def check_declared_names(self) -> None:
        registered = [name for name in loss_names() if loss_class(name) is self.cls]
        for name in self.cls.recorded:
            if registered and not name.startswith(tuple(f"{prefix}." for prefix in registered)):
                raise self.error(
                    f"declares '{name}' in recorded, which must begin with '{registered[0]}.', so "
                    "that it meets no column of another loss"
                )

    def check_docstring(self) -> None:
        plain = self.cls.__init__ is nn.Module.__init__
        wanted = [] if plain else list(inspect.signature(self.cls).parameters)
        text = inspect.getdoc(self.cls) or ""
        section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", text, re.MULTILINE)
        documented = re.findall(r"^ {4}\*{0,2}(\w+)\b[^\n]*?:", section[1], re.M) if section else []
        if documented != wanted:
            raise self.error(
                f"documents the arguments {documented} under 'Args:' of its class docstring, but "
                f"its signature has {wanted}"
            )

    def check_situation(self, situation: Situation) -> None:
        where = f"with {situation.name}"
        example = example_step(situation)
        inputs = {**example.trained, **example.constant}
        before = {name: value.detach().clone() for name, value in inputs.items()}
        try:
            loss = self.ready(example)
            value = self.value(loss, example.a, example.b)
        except UsageError as error:
            if situation.key and situation.frozen:
                raise self.error(f"refuses a step {where}: {error}") from error
            return
        except Exception as error:
            raise self.error(f"fails {where}: {type(error).__name__}: {error}") from error
        undeclared = sorted(self.recorded - set(self.cls.recorded))
        if undeclared:
            raise self.error(
                f"records '{undeclared[0]}' {where}, which its class attribute recorded does not "
                "declare"
            )
        if not isinstance(value, Tensor) or value.shape != () or value.dtype != torch.float32:
            raise self.error(f"does not return a float32 scalar {where}")
        if not math.isfinite(value.item()):
            raise self.error(f"is not finite ({value.item()}) {where}")
        if not value.requires_grad:
            raise self.error(f"returns a value without a graph {where}")
        value.backward()
        parameters = {n: p for n, p in loss.named_parameters() if p.requires_grad}
        for name, leaf in {**example.trained, **parameters}.items():
            if leaf.grad is not None and not leaf.grad.isfinite().all():
                raise self.error(f"has a gradient for {name} that is not finite {where}")
        for name, leaf in example.constant.items():
            if leaf.grad is not None and leaf.grad.any():
                raise self.error(f"lets a gradient into {name} {where}")
        for name, leaf in inputs.items():
            if not torch.equal(leaf.detach(), before[name]):
                raise self.error(f"changes {name} in place {where}")
        if situation is _USUAL:
            self._check_something_is_trained(example, parameters)

    def _check_something_is_trained(
        self, example: ExampleStep, parameters: Mapping[str, Tensor]
    ) -> None:
        for name, parameter in parameters.items():
            if parameter.numel() and (parameter.grad is None or not parameter.grad.any()):
                raise self.error(f"has a parameter {name} that receives no gradient")
        for domain in "ab":
            reached = [
                leaf.grad is not None and bool(leaf.grad.any())
                for name, leaf in example.trained.items()
                if name.startswith(f"{domain}.")
            ]
            if not any(reached):
                raise self.error(f"trains neither embeddings nor features of domain {domain}")

    def check_order_of_the_batch(self) -> None:
        results = []
        for shuffle in (False, True):
            example = example_step(_USUAL)
            a, b = example.a, example.b
            if shuffle:
                a, b = _reversed(a), _reversed(b)
            step = self.step()
            draws_before = step.generator.get_state()
            value = self.ready(example)(a, b, step)
            if not torch.equal(step.generator.get_state(), draws_before):
                return
            value.backward()
            gradients = [leaf.grad for leaf in example.trained.values() if leaf.grad is not None]
            results.append([value.detach(), *gradients])
        for plain, permuted in zip(*results, strict=True):
            if (plain - permuted).abs().max() > 1e-4 * plain.abs().max() + 1e-6:
                raise self.error("depends on the order of the images in a batch")

    def check_independence(self) -> None:
        example, other = example_step(_USUAL), example_step(_USUAL, seed=1)
        alone = self.value(self.ready(example), example.a, example.b)
        first, second = self.ready(example), self.ready(example)
        self.value(second, other.a, other.b)
        beside = self.value(first, example.a, example.b)
        if not torch.equal(alone, beside):
            raise self.error("has another value when a second instance was used before it")

    def check_repetition(self) -> None:
        example, other = example_step(_USUAL), example_step(_USUAL, seed=1)
        loss = self.ready(example)
        before = self.outcome(loss, example)
        self.value(loss, other.a, other.b)
        if not _all_equal(before, self.outcome(loss, example)):
            raise self.error(
                "has another value or gradient when the same step comes again: forward must not "
                "change the loss, or a resumed or replayed training differs"
            )

    def check_state_dict(self) -> None:
        example = example_step(_USUAL)
        trained = self.ready(example)
        self.value(trained, example.a, example.b)
        with torch.no_grad():
            for parameter in trained.parameters():
                parameter.mul_(0.9)
        restored = self.make()
        restored.load_state_dict(trained.state_dict())
        if not _all_equal(self.outcome(trained, example), self.outcome(restored, example)):
            raise self.error("has another value after its state dict was loaded into a fresh one")

    def check_no_host_sync(self) -> None:
        example = example_step(_USUAL)
        loss = self.ready(example).to("meta")
        try:
            self.value(loss, _on_meta(example.a), _on_meta(example.b))
        except (RuntimeError, NotImplementedError) as error:
            raise self.error(
                "cannot run on a device without values: it makes a tensor on the CPU, or reads one "
                f"back to the host (item, bool, numpy, mask indexing) in a step: {error}"
            ) from error


def _built(cls: type[Loss], arguments: Mapping[str, Any]) -> Loss:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return cls(**arguments)


def _all_equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def _on_meta(part: Any) -> Any:
    if isinstance(part, Tensor):
        return part.detach().to("meta").requires_grad_(part.requires_grad)
    if isinstance(part, tuple):
        return tuple(_on_meta(item) for item in part)
    if is_dataclass(part) and not isinstance(part, type):
        return type(part)(**{f.name: _on_meta(getattr(part, f.name)) for f in fields(part)})
    return part


def _reversed(view: DomainView) -> DomainView:
    return replace(
        view,
        z_BD=view.z_BD.flip(0),
        pooled_BF=view.pooled_BF.flip(0),
        key_BD=None if view.key_BD is None else view.key_BD.flip(0),
        frozen_BD=None if view.frozen_BD is None else view.frozen_BD.flip(0),
        index_B=view.index_B.flip(0),
    )
