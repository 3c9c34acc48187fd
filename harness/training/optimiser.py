"""Optimiser and learning-rate schedule of a recipe."""

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import Optimizer

from harness.methods.recipe import OptimiserRule


def _is_norm_or_bias(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim <= 1 or name.endswith(".bias")


def build_optimiser(
    rule: OptimiserRule, backbone: nn.Module, head: nn.Module, losses: Iterable[nn.Module]
) -> Optimizer:
    """The optimiser over the encoder and over what the losses own.

    Each group keeps its full learning rate under ``base_lr``; :func:`set_learning_rate` scales it.
    """
    groups: list[dict[str, object]] = []

    def add(named: Iterable[tuple[str, nn.Parameter]], lr: float, decay: float) -> None:
        kept: list[nn.Parameter] = []
        spared: list[nn.Parameter] = []
        for name, parameter in named:
            plain = not rule.decay_norm and _is_norm_or_bias(name, parameter)
            (spared if plain else kept).append(parameter)
        for parameters, weight_decay in ((kept, decay), (spared, 0.0)):
            if parameters:
                groups.append(
                    {
                        "params": parameters,
                        "lr": lr,
                        "base_lr": lr,
                        "weight_decay": weight_decay,
                    }
                )

    add(backbone.named_parameters(), rule.lr * rule.backbone_lr_factor, rule.weight_decay)
    add(head.named_parameters(), rule.lr, rule.weight_decay)
    loss_lr = rule.lr if rule.loss_lr is None else rule.loss_lr
    loss_decay = rule.weight_decay if rule.loss_weight_decay is None else rule.loss_weight_decay
    for loss in losses:
        add(loss.named_parameters(), loss_lr, loss_decay)
    return _make[rule.kind](rule, groups)


def _sgd(rule: OptimiserRule, groups: list[dict[str, object]]) -> Optimizer:
    return torch.optim.SGD(groups, momentum=rule.momentum, nesterov=rule.nesterov, fused=True)


def _adam(rule: OptimiserRule, groups: list[dict[str, object]]) -> Optimizer:
    return torch.optim.Adam(groups, amsgrad=rule.amsgrad, fused=True)


def _adamw(rule: OptimiserRule, groups: list[dict[str, object]]) -> Optimizer:
    return torch.optim.AdamW(groups, amsgrad=rule.amsgrad, fused=True)


_make = {"sgd": _sgd, "adam": _adam, "adamw": _adamw}


def set_learning_rate(optimiser: Optimizer, rule: OptimiserRule, epoch: int, epochs: int) -> None:
    """Sets the learning rate of an epoch (from 0): ``lr/2 (1 + cos(pi e/E))`` under ``cosine``."""
    factor = 1.0
    if rule.schedule == "cosine":
        factor = 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * factor
