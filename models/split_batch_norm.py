"""Batch normalisation of a batch in splits, as MoCo's key encoder uses on one device.

Shapes: B batch, C channels; ``...`` stands for any number of spatial axes.
"""

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

AnyModule = TypeVar("AnyModule", bound=nn.Module)

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_KNOWN_FORWARDS = (*(cls.forward for cls in _BATCH_NORMS), BatchNormAct2d.forward)


class SplitBatchNorm(nn.Module):
    """Batch norm whose statistics are those of one block of the batch, not of the whole batch.

    In train mode the batch is cut into ``num_splits`` *consecutive* blocks of equal size, each
    normalised by its own statistics; the running statistics take the mean of what each block
    would have made of them (MoCo, He et al. 2020, sec. 3.3: shuffling BN, on one device). MoCo
    deals images out to the splits in turn (even and odd positions); ``MomentumTwin`` does so
    once, on its input: consecutive blocks need no strided copy in every layer, which costs more
    than the normalisation itself where channels come last. In eval mode it is plain batch norm.

    Names of parameters and buffers, and timm's ``drop`` and ``act``, stay those of the layer it
    stands in for, so that weights go both ways.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, num_splits: int) -> None:
        """Takes over the parameters and buffers of ``norm`` (shared, not copied).

        Raises:
            ValueError: ``num_splits`` is below 1, ``norm`` averages cumulatively (momentum None)
                or is of a class whose forward pass is not known here.
        """
        super().__init__()
        if num_splits < 1:
            raise ValueError(f"num_splits must be at least 1, not {num_splits}")
        if norm.momentum is None:
            raise ValueError("a batch norm with momentum=None cannot be split")
        if type(norm).forward not in _KNOWN_FORWARDS:
            raise ValueError(
                f"a batch norm of class {type(norm).__name__} cannot be split; use num_splits=1"
            )
        self.num_splits = num_splits
        self.momentum = norm.momentum
        self.eps = norm.eps
        self.register_parameter("weight", norm.weight)
        self.register_parameter("bias", norm.bias)
        self.register_buffer("running_mean", norm.running_mean)
        self.register_buffer("running_var", norm.running_var)
        self.register_buffer("num_batches_tracked", norm.num_batches_tracked)
        self.drop = norm.drop if isinstance(norm, BatchNormAct2d) else nn.Identity()
        self.act = norm.act if isinstance(norm, BatchNormAct2d) else nn.Identity()
        self.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """Normalises ``x`` of shape (B, C, ...); B must divide into the splits in train mode.

        Raises:
            ValueError: B is no multiple of ``num_splits`` (train mode only).
        """
        return self.act(self.drop(self._split(x) if self.training else self._whole(x)))

    def _whole(self, x: Tensor) -> Tensor:
        mean, var = self.running_mean, self.running_var
        return F.batch_norm(
            x, mean, var, self.weight, self.bias, training=mean is None, eps=self.eps
        )

    def _split(self, x: Tensor) -> Tensor:
        if x.shape[0] % self.num_splits:
            raise ValueError(
                f"a batch of {x.shape[0]} images cannot be cut into {self.num_splits} equal "
                f"splits for batch norm; take a batch size that is a multiple of {self.num_splits}"
            )
        blocks = x.chunk(self.num_splits)
        if self.running_mean is None or self.running_var is None:
            return torch.cat([self._block(block, None, None) for block in blocks])
        means = self.running_mean.repeat(self.num_splits, 1)
        vars_ = self.running_var.repeat(self.num_splits, 1)
        out = torch.cat([self._block(*each) for each in zip(blocks, means, vars_, strict=True)])
        self.running_mean.copy_(means.mean(dim=0))
        self.running_var.copy_(vars_.mean(dim=0))
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return out

    def _block(self, x: Tensor, mean: Tensor | None, var: Tensor | None) -> Tensor:
        return F.batch_norm(
            x,
            mean,
            var,
            self.weight,
            self.bias,
            training=True,
            momentum=self.momentum,
            eps=self.eps,
        )

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"num_splits={self.num_splits}, eps={self.eps}, momentum={self.momentum}"


def with_split_batch_norm(module: AnyModule, num_splits: int) -> AnyModule:
    """A deep copy of ``module`` in which every batch norm is a :class:`SplitBatchNorm`.

    Replaces ``BatchNorm1d``, ``BatchNorm2d`` and timm's ``BatchNormAct2d``. A network without
    batch norm, or ``num_splits=1``, gives a plain deep copy.

    Raises:
        ValueError: a batch norm that cannot be split (see :class:`SplitBatchNorm`).
    """
    twin = copy.deepcopy(module)
    if num_splits == 1:
        return twin
    replaced: dict[int, nn.Module] = {}
    for parent in list(twin.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BATCH_NORMS):
                split = replaced.setdefault(id(child), SplitBatchNorm(child, num_splits))
                setattr(parent, name, split)
    return twin
