"""The golden figures of the losses as views of a step."""

from pathlib import Path

import numpy as np
import pytest
import torch

from losses import Clustering, DomainView, StepContext

GOLDEN = Path(__file__).parent / "golden"
FILES = ("losses_k7", "losses_k65", "losses_k7_loose")


class Golden:
    def __init__(self, name):
        self.arrays = dict(np.load(GOLDEN / f"{name}.npz"))
        self.z = {x: self[f"query_{x}"].requires_grad_() for x in "ab"}

    def __getitem__(self, name):
        value = self.arrays[name]
        return value.item() if value.ndim == 0 else torch.from_numpy(value.copy())

    def view(self, x):
        clustering = Clustering(self[f"proto_{x}"], self[f"assign_{x}"])
        return DomainView(
            z_BD=self.z[x],
            pooled_BF=self.z[x],
            key_BD=self[f"key_{x}"],
            frozen_BD=None,
            index_B=self[f"ids_{x}"],
            bank_ND=self[f"bank_{x}"],
            clusterings=(clustering,),
        )

    def check(self, name, value, scale=1.0):
        assert value.item() == pytest.approx(self[name] * scale, rel=1e-5)
        gradients = torch.autograd.grad(value, [self.z["a"], self.z["b"]], allow_unused=True)
        for x, gradient in zip("ab", gradients):
            reference = self[f"{name}.grad_{x}"] * scale
            got = torch.zeros_like(reference) if gradient is None else gradient
            assert (got - reference).abs().max() <= 1e-5 * reference.abs().max()


def step(record=lambda name, value: None):
    return StepContext(0, 0.0, "only", torch.Generator().manual_seed(0), record)
