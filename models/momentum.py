"""The momentum twin: a slow copy of the query encoder that makes the keys.

Shapes: B batch, S image side in pixels, D embedding size, F backbone features.
"""

import torch
from torch import Tensor, nn

from harness.errors import UsageError
from models.encoder import Encoder
from models.split_batch_norm import with_split_batch_norm


class MomentumTwin(nn.Module):
    """The momentum encoder of MoCo (He et al. 2020) as the UCDIR family uses it.

    It starts equal to the query encoder and follows it by
    ``theta_k <- m * theta_k + (1 - m) * theta_q``, parameters only: its batch norm statistics
    come from its passes in train mode alone.

    Attributes:
        encoder: the copy; its weights have the names of the query encoder's.
        momentum: m.
        num_splits: splits of the batch for batch norm; 1 is plain batch norm.
    """

    def __init__(self, encoder: Encoder, momentum: float = 0.999, num_splits: int = 2) -> None:
        """Copies ``encoder``.

        Raises:
            UsageError: ``momentum`` is outside [0, 1].
            ValueError: a batch norm of the encoder cannot be split.
        """
        super().__init__()
        if not 0 <= momentum <= 1:
            raise UsageError(f"The encoder momentum must lie in [0, 1], not {momentum}.")
        self.momentum = momentum
        self.num_splits = num_splits
        self.encoder = with_split_batch_norm(encoder, num_splits).requires_grad_(False).train()

    @torch.no_grad()
    def forward(self, x_B3SS: Tensor, permutation_B: Tensor) -> Tensor:
        """Keys of a batch, in the order of the batch, in train mode and without gradient.

        The batch is shuffled by ``permutation_B``; the shuffled images are dealt out to the
        splits in turn (with two splits: even and odd positions), each split is normalised by
        its own statistics, and the keys are put back in order.

        Args:
            x_B3SS: normalised images; B a multiple of ``num_splits`` if the network has batch
                norm.
            permutation_B: a permutation of 0..B-1 (int64), drawn by the caller.

        Returns:
            key_BD: L2-normalised, float32.

        Raises:
            ValueError: the permutation is of another length, or B does not divide into splits.
        """
        if permutation_B.shape != x_B3SS.shape[:1]:
            raise ValueError(
                f"a permutation of {permutation_B.numel()} does not fit a batch of {len(x_B3SS)}"
            )
        if not self.encoder.training:
            self.encoder.train()
        splits = range(self.num_splits)
        order_B = torch.cat([permutation_B[split :: self.num_splits] for split in splits])
        order_B = order_B.to(x_B3SS.device, non_blocking=True)
        dealt_BD, _ = self.encoder(x_B3SS.index_select(0, order_B))
        return torch.empty_like(dealt_BD).index_copy_(0, order_B, dealt_BD)

    @torch.no_grad()
    def update(self, query_encoder: Encoder) -> None:
        """Moves every parameter towards the query encoder's; buffers stay as they are."""
        torch._foreach_lerp_(
            list(self.encoder.parameters()), list(query_encoder.parameters()), 1 - self.momentum
        )
