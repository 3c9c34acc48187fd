"""What the methods without training score, against slow evaluations."""

import pytest
import torch
import torch.nn.functional as F

from harness.errors import UsageError
from harness.training.readouts import PairFeatures, read_out


def features(n=15, m=21, size=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pooled = [torch.rand(count, size, generator=generator) for count in (n, m)]
    z = [F.normalize(pooled_XF, dim=1) for pooled_XF in pooled]
    return PairFeatures(tuple(z), tuple(pooled))


@pytest.mark.parametrize("rule", ["pooled", "pooled_centred", "pooled_whitened", "pooled_csls"])
def test_readouts_are_unit_vectors_of_one_size(rule):
    a, b = read_out(rule, features(), {})
    assert a.shape[1] == b.shape[1]
    for domain in (a, b):
        assert domain.dtype == torch.float32
        torch.testing.assert_close(domain.norm(dim=1), torch.ones(len(domain)))


def test_the_embedding_is_scored_as_it_is():
    given = features()
    assert read_out("embedding", given, {}) is given.z


def test_csls_cosines_rank_both_directions_as_the_definition():
    given = features()
    a, b = (F.normalize(pooled.double(), dim=1) for pooled in given.pooled)
    cosine = a @ b.T
    scores = [[0.0] * len(b) for _ in a]
    for i in range(len(a)):
        for j in range(len(b)):
            near_i = sorted(cosine[i].tolist(), reverse=True)[:4]
            near_j = sorted(cosine[:, j].tolist(), reverse=True)[:4]
            scores[i][j] = 2 * cosine[i, j].item() - sum(near_i) / 4 - sum(near_j) / 4
    expected = torch.tensor(scores)
    z_a, z_b = read_out("pooled_csls", given, {"neighbours": 4})
    found = z_a @ z_b.T
    assert torch.equal(found.argsort(1), expected.argsort(1))
    assert torch.equal(found.argsort(0), expected.argsort(0))
    assert not torch.equal(cosine.argsort(1), expected.argsort(1))


def test_whitening_without_shrinkage_makes_the_covariance_the_identity():
    # F.normalize only scales the rows: undo it by the known length of the whitened ones.
    given = features(n=200, m=150)
    a, _ = read_out("pooled_whitened", given, {"shrinkage": 1e-6})
    centred = given.pooled[0] - given.pooled[0].mean(0)
    inverse = torch.linalg.inv(torch.cov(centred.T.double()))
    length = (centred.double() @ inverse * centred.double()).sum(1).sqrt()
    whitened = a.double() * length[:, None]
    torch.testing.assert_close(
        torch.cov(whitened.T), torch.eye(6, dtype=torch.float64), atol=1e-3, rtol=1e-3
    )


def test_full_shrinkage_only_centres():
    given = features()
    for one, other in zip(
        read_out("pooled_whitened", given, {"shrinkage": 1.0}),
        read_out("pooled_centred", given, {}),
    ):
        torch.testing.assert_close(one, other)


def test_centring_takes_each_domains_own_mean_off():
    given = features()
    moved = PairFeatures(given.z, (given.pooled[0] + 3.0, given.pooled[1] - 2.0))
    for one, other in zip(
        read_out("pooled_centred", given, {}), read_out("pooled_centred", moved, {})
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_values_out_of_range_and_unknown_names_are_refused():
    with pytest.raises(UsageError, match="shrinkage"):
        read_out("pooled_whitened", features(), {"shrinkage": 0.0})
    with pytest.raises(UsageError, match="csls_neighbours"):
        read_out("pooled_csls", features(), {"neighbours": 0})
    with pytest.raises(UsageError, match="pooled"):
        read_out("poold", features(), {})
