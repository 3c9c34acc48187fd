"""Embeddings of a whole domain from centre crops.

Shapes: N images of the domain, B batch, D embedding size, F backbone features, S image side.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from harness.datasets.frame_store import DomainFrames
from harness.training.views import evaluation_view

EVALUATION_BATCH = 256

Embedder = Callable[[Tensor], tuple[Tensor, Tensor]]


def embed_domain(
    embed: Embedder, frames: DomainFrames, image_size: int, device: torch.device, precision: str
) -> tuple[Tensor, Tensor]:
    """Embeds every image of a domain once, in the order of the domain.

    Args:
        embed: an encoder in evaluation mode: images to ``(z_BD, pooled_BF)``.
        frames: the domain's decoded frames.
        image_size: side the network sees.
        device: where the encoder is.
        precision: ``fp32`` or ``bf16`` autocast.

    Returns:
        ``(z_ND, pooled_NF)``, float32 on ``device``.
    """
    z_parts: list[Tensor] = []
    pooled_parts: list[Tensor] = []
    with torch.inference_mode(), autocast(device, precision):
        for start in range(0, len(frames), EVALUATION_BATCH):
            stop = min(start + EVALUATION_BATCH, len(frames))
            frames_B3FF = frames.frames_N3FF[start:stop].to(device)
            view_B3SS = evaluation_view(frames_B3FF, frames.size_N2[start:stop], image_size)
            z_BD, pooled_BF = embed(view_B3SS)
            z_parts.append(z_BD.float())
            pooled_parts.append(pooled_BF.float())
    # Clones: tensors made in inference mode may not enter a loss later.
    return torch.cat(z_parts).clone(), torch.cat(pooled_parts).clone()


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The autocast context of a precision."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
