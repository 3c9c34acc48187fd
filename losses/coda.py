"""In-domain self-matching and cross-domain classifier alignment (CoDA).

Shapes: B batch, K rows of a classifier, D embedding size.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.arguments import positive
from harness.errors import UsageError
from losses.contract import Clustering, DomainView, Loss, StepContext, register_loss
from losses.parts.zero_loss import zero_loss


def self_matching_loss(
    z_BD: Tensor, slot_BD: Tensor, classifier_KD: Tensor, temperature: float
) -> Tensor:
    """Cross-entropy of the image's logits with the sharpened softmax of its bank slot; scalar."""
    target_BK = F.softmax(slot_BD.detach() @ classifier_KD.detach().T / temperature, dim=1)
    return F.cross_entropy(z_BD @ classifier_KD.T, target_BK)


def classifier_alignment_loss(z_BD: Tensor, own_KD: Tensor, other_KD: Tensor) -> Tensor:
    """L1 distance between the logits of two classifiers, summed over rows, mean over B; scalar.

    Rows without a counterpart take no part.
    """
    rows = min(len(own_KD), len(other_KD))
    return (z_BD @ (own_KD[:rows] - other_KD[:rows]).T).abs().sum(1).mean()


@register_loss("coda")
class Coda(Loss):
    """CoDA's two terms, which share their classifiers: ISS_a + ISS_b + CCA_a + CCA_b.

    Wang et al. (AAAI 2023). When its stage begins, each clustering gives one bias-free linear
    classifier per domain, whose rows are the prototypes; row k of both domains belongs together,
    so the clustering rule must start both domains from common centroids. They are trained from
    then on. Both parts are logged raw, as ``coda.self_matching`` and
    ``coda.classifier_alignment``; they are one loss because they train the same classifiers.

    Args:
        embedding_size: size of the embeddings; the harness fills it in.
        heads: the most clusterings there will be.
        temperature: sharpens the targets of self-matching.
        alignment_weight: weight of the classifier alignment.
    """

    recorded = ("coda.self_matching", "coda.classifier_alignment")

    def __init__(
        self,
        embedding_size: int,
        heads: int = 4,
        temperature: float = 0.01,
        alignment_weight: float = 0.01,
    ) -> None:
        super().__init__()
        self.temperature = positive("temperature", temperature)
        self.alignment_weight = float(alignment_weight)

        def empty_classifiers() -> nn.ParameterList:
            empty = (nn.Parameter(torch.zeros(0, embedding_size)) for _ in range(heads))
            return nn.ParameterList(empty)

        self.classifiers_a = empty_classifiers()
        self.classifiers_b = empty_classifiers()

    def begin_stage(
        self,
        a: tuple[Clustering, ...],
        b: tuple[Clustering, ...],
        bank_a_ND: Tensor,
        bank_b_ND: Tensor,
    ) -> None:
        """Makes the prototypes the rows of the classifiers.

        The parameters grow in place, so an optimiser that holds them already goes on to.

        Raises:
            UsageError: there are more clusterings than heads.
        """
        for classifiers, clusterings in ((self.classifiers_a, a), (self.classifiers_b, b)):
            if len(clusterings) > len(classifiers):
                raise UsageError(
                    f"The loss 'coda' has {len(classifiers)} heads for {len(clusterings)} "
                    "clusterings; set heads to their number."
                )
            for parameter, clustering in zip(classifiers, clusterings, strict=False):
                parameter.data = clustering.proto_KD.detach().clone()

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *arguments: Any
    ) -> None:
        for name, parameter in self.named_parameters():
            saved = state_dict.get(prefix + name)
            if saved is not None and saved.shape[1:] == parameter.shape[1:]:
                parameter.data = torch.empty_like(saved, device=parameter.device)
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def forward(self, a: DomainView, b: DomainView, step: StepContext) -> Tensor:
        """Returns the sum of both terms over both domains, each a mean over the heads."""
        pairs = [
            (of_a_KD, of_b_KD)
            for of_a_KD, of_b_KD in zip(self.classifiers_a, self.classifiers_b, strict=True)
            if len(of_a_KD) and len(of_b_KD)
        ]
        if not pairs:
            return zero_loss(a, b)
        slots = [view.bank_ND[view.index_B] for view in (a, b)]
        matching, alignment = [], []
        for of_a_KD, of_b_KD in pairs:
            matching += [
                self_matching_loss(a.z_BD, slots[0], of_a_KD, self.temperature),
                self_matching_loss(b.z_BD, slots[1], of_b_KD, self.temperature),
            ]
            alignment += [classifier_alignment_loss(view.z_BD, of_a_KD, of_b_KD) for view in (a, b)]
        self_matching = torch.stack(matching).sum() / len(pairs)
        classifier_alignment = torch.stack(alignment).sum() / len(pairs)
        step.record("coda.self_matching", self_matching)
        step.record("coda.classifier_alignment", classifier_alignment)
        return self_matching + self.alignment_weight * classifier_alignment
