"""The memory bank: one embedding per image of a domain.

Shapes: B batch, N images, D embedding size.
"""

import torch
from torch import Tensor

from harness.methods.recipe import BankRule


def overwrite(bank_ND: Tensor, index_B: Tensor, key_BD: Tensor) -> None:
    """Puts the keys into their slots; of an image that occurs twice the later one stays.

    ``index_copy_`` leaves the order of duplicates open, so each takes its last occurrence's key.
    """
    same_BB = index_B[:, None] == index_B[None, :]
    position_B = torch.arange(len(index_B), device=index_B.device)
    last_B = torch.where(same_BB, position_B[None, :], -1).amax(dim=1)
    bank_ND.index_copy_(0, index_B, key_BD[last_B].to(bank_ND.dtype))


def follow(bank_ND: Tensor, index_B: Tensor, z_BD: Tensor, rule: BankRule) -> None:
    """Moves the slots towards the embeddings: ``m <- beta m + (1 - beta) z`` (UEM eq. 5)."""
    moved_BD = rule.beta * bank_ND[index_B] + (1.0 - rule.beta) * z_BD
    if rule.normalise:
        moved_BD = torch.nn.functional.normalize(moved_BD, dim=1)
    overwrite(bank_ND, index_B, moved_BD)
