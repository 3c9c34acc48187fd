"""Which features of an image a domain-alignment loss acts on."""

from typing import Literal

from torch import Tensor

from losses.contract import DomainView

Features = Literal["embedding", "pooled"]
FEATURES: tuple[Features, ...] = ("embedding", "pooled")


def features_of(view: DomainView, features: Features) -> Tensor:
    """The L2-normalised embeddings (B, D), or the backbone's pooled features (B, F)."""
    return view.z_BD if features == "embedding" else view.pooled_BF
