"""Shapes: B batch, S image side, D embedding size."""

import copy

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from harness.errors import UsageError
from models.encoder import EncoderSettings, build_encoder
from models.momentum import MomentumTwin
from models.split_batch_norm import SplitBatchNorm, with_split_batch_norm


def encoder_of(backbone="test_resnet", seed=0):
    chosen = EncoderSettings(backbone=backbone, image_size=32, embedding_size=16)
    return build_encoder(chosen, "random", seed)[0]


def images(batch, seed=0):
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def float_buffers(module):
    return {name: b for name, b in module.named_buffers() if b.is_floating_point()}


def with_random_affine(norm, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5, generator=generator)
        norm.bias.normal_(generator=generator)
        norm.running_mean.normal_(generator=generator)
    return norm


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm2d(5), (6, 5, 3, 4)),
        (nn.BatchNorm1d(5), (6, 5)),
        (nn.BatchNorm1d(5), (6, 5, 7)),
        (BatchNormAct2d(5, act_layer=nn.SiLU), (6, 5, 3, 4)),
        (nn.BatchNorm2d(5, momentum=0.3, eps=0.1), (6, 5, 3, 4)),
    ],
)
@pytest.mark.parametrize("splits", [2, 3])
def test_each_block_is_normalised_alone_and_running_statistics_are_the_mean(norm, shape, splits):
    net = nn.Sequential(with_random_affine(norm))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 2 + 1
    split = with_split_batch_norm(net, splits)
    assert isinstance(split[0], SplitBatchNorm)

    expected, statistics = [], []
    for block in x.split(shape[0] // splits):
        alone = copy.deepcopy(net)
        expected.append(alone(block))
        statistics.append((alone[0].running_mean, alone[0].running_var))
    torch.testing.assert_close(split(x), torch.cat(expected))
    means, variances = zip(*statistics)
    torch.testing.assert_close(split[0].running_mean, torch.stack(means).mean(dim=0))
    torch.testing.assert_close(split[0].running_var, torch.stack(variances).mean(dim=0))
    assert split[0].num_batches_tracked == net[0].num_batches_tracked + 1

    plain = copy.deepcopy(net).eval()
    plain.load_state_dict(split.state_dict())
    torch.testing.assert_close(split.eval()(x), plain(x))


def test_norms_without_weights_or_running_statistics_are_split_too():
    net = nn.Sequential(nn.BatchNorm2d(3, affine=False, track_running_stats=False))
    x = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    split = with_split_batch_norm(net, 2)
    torch.testing.assert_close(split(x), torch.cat([net(x[:2]), net(x[2:])]))
    torch.testing.assert_close(split.eval()(x), net(x))


def test_splitting_leaves_the_original_and_networks_without_batch_norm_alone():
    encoder = encoder_of()
    split = with_split_batch_norm(encoder, 2)
    assert any(isinstance(m, SplitBatchNorm) for m in split.modules())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in split.modules())
    assert not any(isinstance(m, SplitBatchNorm) for m in encoder.modules())
    assert list(split.state_dict()) == list(encoder.state_dict())
    vit = encoder_of("test_vit")
    assert repr(with_split_batch_norm(vit, 2)) == repr(vit)
    assert repr(with_split_batch_norm(encoder, 1)) == repr(encoder)


def test_batch_norms_that_cannot_be_split_are_refused():
    class Odd(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x) + 1

    with pytest.raises(ValueError, match="class Odd cannot be split"):
        with_split_batch_norm(nn.Sequential(Odd(3)), 2)
    with pytest.raises(ValueError, match="momentum=None"):
        with_split_batch_norm(nn.Sequential(nn.BatchNorm2d(3, momentum=None)), 2)


def test_a_batch_that_does_not_divide_into_splits_is_refused():
    twin = MomentumTwin(encoder_of())
    with pytest.raises(ValueError, match=r"batch of 5 .* 2 equal"):
        twin(images(5), torch.arange(5))
    with pytest.raises(ValueError, match="permutation of 4 does not fit a batch of 6"):
        twin(images(6), torch.arange(4))


@pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet"])
def test_keys_are_those_of_even_and_odd_positions_of_the_shuffled_batch(backbone):
    query = encoder_of(backbone)
    twin = MomentumTwin(query)
    x = images(8)
    permutation_B = torch.tensor([5, 2, 7, 0, 1, 6, 3, 4])
    key_BD = twin(x, permutation_B)

    shuffled = x[permutation_B]
    even, odd = copy.deepcopy(query), copy.deepcopy(query)
    shuffled_key_BD = torch.empty(8, 16)
    with torch.no_grad():
        shuffled_key_BD[0::2] = even(shuffled[0::2])[0]
        shuffled_key_BD[1::2] = odd(shuffled[1::2])[0]
    expected_BD = torch.empty(8, 16)
    for position, image in enumerate(permutation_B.tolist()):
        expected_BD[image] = shuffled_key_BD[position]
    torch.testing.assert_close(key_BD, expected_BD, rtol=1e-4, atol=1e-5)
    assert not key_BD.requires_grad

    even_buffers, odd_buffers = float_buffers(even), float_buffers(odd)
    for name, value in float_buffers(twin.encoder).items():
        torch.testing.assert_close(value, (even_buffers[name] + odd_buffers[name]) / 2)


def test_the_permutation_decides_who_shares_statistics():
    twin = MomentumTwin(encoder_of())
    x = images(6)
    in_order, shuffled = twin(x, torch.arange(6)), twin(x, torch.tensor([1, 0, 2, 3, 4, 5]))
    assert (in_order - shuffled).abs().max() > 1e-3
    same_halves = twin(x, torch.tensor([4, 5, 2, 1, 0, 3]))
    torch.testing.assert_close(in_order, same_halves, rtol=1e-4, atol=1e-5)


def test_a_network_without_batch_norm_takes_any_batch_and_order():
    twin = MomentumTwin(encoder_of("test_vit"))
    x = images(5)
    key_BD = twin(x, torch.tensor([3, 1, 4, 0, 2]))
    torch.testing.assert_close(key_BD, twin.encoder.embed(x)[0], rtol=1e-4, atol=1e-5)


def test_the_twin_starts_equal_and_has_no_gradient():
    query = encoder_of()
    twin = MomentumTwin(query)
    x = images(4)
    assert torch.equal(twin.encoder.embed(x)[0], query.embed(x)[0])
    assert not any(p.requires_grad for p in twin.parameters())
    assert all(p.requires_grad for p in query.parameters())
    with torch.no_grad():
        query.head[0].weight.add_(1)
    assert not torch.equal(twin.encoder.head[0].weight, query.head[0].weight)


def test_update_moves_parameters_and_never_buffers():
    query, other = encoder_of(), encoder_of(seed=1)
    twin = MomentumTwin(query, momentum=0.9)
    other(images(4))
    buffers = {name: b.clone() for name, b in twin.named_buffers()}
    twin.update(other)
    twin.update(other)
    for name, value in twin.encoder.named_parameters():
        start, target = query.get_parameter(name), other.get_parameter(name)
        expected = 0.9 * (0.9 * start + 0.1 * target) + 0.1 * target
        torch.testing.assert_close(value, expected)
    assert all(torch.equal(b, buffers[name]) for name, b in twin.named_buffers())


def test_running_statistics_are_the_twins_own():
    query = encoder_of()
    twin = MomentumTwin(query, momentum=0.0)
    query(images(8, seed=1) * 3 + 1)
    twin(images(8, seed=2), torch.arange(8))
    twin.update(query)
    for name, value in twin.encoder.named_parameters():
        assert torch.equal(value, query.get_parameter(name))
    x = images(4)
    keys, queries = twin.encoder.embed(x)[0], query.embed(x)[0]
    assert (keys - queries).abs().max() > 1e-3
    twin.encoder.load_state_dict(query.state_dict())
    torch.testing.assert_close(twin.encoder.embed(x)[0], queries)


def test_embedding_between_steps_does_not_change_the_keys_mode():
    twin = MomentumTwin(encoder_of())
    x, order_B = images(4), torch.arange(4)
    before = copy.deepcopy(twin)
    twin.encoder.embed(x)
    assert torch.equal(twin(x, order_B), before(x, order_B))
    twin.eval()
    assert torch.equal(twin(x, order_B), before(x, order_B))


def test_momentum_outside_its_range_is_refused():
    with pytest.raises(UsageError, match=r"\[0, 1\], not 1.5"):
        MomentumTwin(encoder_of(), momentum=1.5)
