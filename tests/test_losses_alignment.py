"""Domain-alignment losses against slow evaluations and closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F
from golden_losses import step

from harness.errors import UsageError
from losses import DomainView, create_loss
from losses.coral import covariance
from losses.domain_adversarial import reverse_gradient
from losses.mmd import BANDWIDTHS, mean_discrepancy


def view(seed, batch=5, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    z_BD = F.normalize(torch.randn(batch, 4, generator=generator), dim=1).requires_grad_()
    pooled_BF = (torch.randn(batch, 6, generator=generator) + shift).requires_grad_()
    return DomainView(z_BD, pooled_BF, None, None, torch.arange(batch), z_BD.detach())


def test_gradient_reversal_is_the_identity_with_the_opposite_gradient():
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = reverse_gradient(x)
    (3 * y).sum().backward()
    assert y.tolist() == [1.0, -2.0]
    assert x.grad.tolist() == [-3.0, -3.0]


def adversary(**arguments):
    return create_loss("domain_adversarial", pooled_size=6, embedding_size=4, **arguments)


@pytest.mark.parametrize("features", ["pooled", "embedding"])
def test_domain_adversarial_value_and_accuracy(features):
    a, b, loss = view(1), view(2, batch=7), adversary(features=features, hidden_size=3)
    value, right = 0.0, 0.0
    for v, is_a in ((a, True), (b, False)):
        for x in v.pooled_BF if features == "pooled" else v.z_BD:
            p = torch.sigmoid(loss.classifier(x)).item()
            value -= math.log(p if is_a else 1 - p) / len(v.z_BD) / 2
            right += float((p > 0.5) == is_a) / len(v.z_BD) / 2
    seen = {}
    assert loss(a, b, step(seen.__setitem__)).item() == pytest.approx(value, rel=1e-5)
    assert seen["domain_adversarial.accuracy"].item() == pytest.approx(right)


def test_the_classifier_descends_while_the_features_ascend():
    a, b, loss = view(3), view(4, shift=1.0), adversary()
    value = loss(a, b, step())
    value.backward()
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter -= 0.1 * parameter.grad
        assert loss(a, b, step()) < value
        for parameter in loss.parameters():
            parameter += 0.1 * parameter.grad
        moved_a, moved_b = (v.pooled_BF - 0.1 * v.pooled_BF.grad for v in (a, b))
    moved = [
        DomainView(v.z_BD, m, None, None, v.index_B, v.bank_ND)
        for v, m in ((a, moved_a), (b, moved_b))
    ]
    assert loss(*moved, step()) > value


def loop_discrepancy(x, y):
    joint = [*x, *y]
    n = len(joint)
    squares = [[float((u - v).square().sum()) for v in joint] for u in joint]
    width = sum(map(sum, squares)) / (n * (n - 1))

    def mean_kernel(rows, columns):
        total = 0.0
        for i in rows:
            for j in columns:
                total += sum(math.exp(-squares[i][j] / (s * width)) for s in BANDWIDTHS)
        return total / (len(rows) * len(columns))

    first, second = range(len(x)), range(len(x), n)
    return mean_kernel(first, first) + mean_kernel(second, second) - 2 * mean_kernel(first, second)


def test_mmd_against_loops():
    a, b = view(5), view(6, batch=8, shift=0.5)
    expected = loop_discrepancy(a.pooled_BF.detach(), b.pooled_BF.detach())
    assert create_loss("mmd")(a, b, step()).item() == pytest.approx(expected, rel=1e-4)
    expected = loop_discrepancy(a.z_BD.detach(), b.z_BD.detach())
    value = create_loss("mmd", features="embedding")(a, b, step())
    assert value.item() == pytest.approx(expected, rel=1e-4)


def test_mmd_is_zero_for_equal_batches_and_grows_with_the_shift():
    x = view(7).pooled_BF.detach()
    values = [mean_discrepancy(x, x + shift).item() for shift in (0.0, 0.5, 1.0, 2.0)]
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert values == sorted(values)


def test_descending_mmd_brings_the_domains_together():
    x, y = view(8).pooled_BF.detach().requires_grad_(), view(9, shift=1.0).pooled_BF.detach()
    before = mean_discrepancy(x, y)
    before.backward()
    assert mean_discrepancy(x.detach() - 0.5 * x.grad, y) < before


def test_coral_against_the_library_covariance():
    a, b = view(10), view(11, batch=9, shift=2.0)
    for features, (x, y) in {
        "pooled": (a.pooled_BF, b.pooled_BF),
        "embedding": (a.z_BD, b.z_BD),
    }.items():
        difference = torch.cov(x.T) - torch.cov(y.T)
        expected = difference.square().sum().item() / (4 * x.shape[1] ** 2)
        value = create_loss("coral", features=features)(a, b, step())
        assert value.item() == pytest.approx(expected, rel=1e-5)
    assert covariance(a.pooled_BF[:1]).abs().max().item() == 0


def test_wrong_settings_are_named():
    with pytest.raises(UsageError, match="Did you mean 'pooled'"):
        create_loss("mmd", features="poled")
    with pytest.raises(UsageError, match="hidden_size must be at least 1"):
        adversary(hidden_size=0)
