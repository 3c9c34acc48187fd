"""Shapes: B batch, S image side, F backbone features, D embedding size."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from harness.errors import UsageError
from models.encoder import (
    EncoderSettings,
    backbone_names,
    build_encoder,
    load_encoder,
    parameter_count,
    save_encoder,
)
from models.momentum import MomentumTwin


def settings(backbone="test_resnet", image_size=32, **more):
    return EncoderSettings(backbone=backbone, image_size=image_size, **more)


def encoder_of(*args, seed=0, **more):
    return build_encoder(settings(*args, **more), "random", seed)[0]


def images(batch, side=32, seed=0):
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(seed))


def states_equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("backbone", "features"),
    [
        ("test_resnet", 96),
        ("resnet18", 512),
        ("test_vit", 64),
        ("test_convnext", 64),
        ("test_efficientnet.r160_in1k", 256),
        ("mobilenetv3_small_050", 1024),  # its head holds a hidden layer of its own
    ],
)
def test_any_timm_backbone_gives_unit_embeddings_and_pooled_features(backbone, features):
    encoder = encoder_of(backbone, embedding_size=16)
    z_BD, pooled_BF = encoder(images(4))
    assert z_BD.shape == (4, 16)
    assert pooled_BF.shape == (4, features)
    assert (encoder.feature_size, encoder.embedding_size) == (features, 16)
    torch.testing.assert_close(z_BD.norm(dim=1), torch.ones(4))
    z_BD[:, 0].sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_the_mlp_head_is_that_of_moco_v2_and_the_linear_head_one_layer():
    mlp = encoder_of(embedding_size=8)
    assert [tuple(p.shape) for p in mlp.head.parameters()] == [(96, 96), (96,), (8, 96), (8,)]
    z_BD, pooled_BF = mlp.embed(images(3))
    hidden = (pooled_BF @ mlp.head[0].weight.T + mlp.head[0].bias).clamp(min=0)
    raw = hidden @ mlp.head[2].weight.T + mlp.head[2].bias
    torch.testing.assert_close(z_BD, raw / raw.norm(dim=1, keepdim=True))
    linear = encoder_of(embedding_size=8, head="linear")
    assert [tuple(p.shape) for p in linear.head.parameters()] == [(8, 96), (8,)]
    backbone = sum(p.numel() for p in linear.backbone.parameters())
    assert parameter_count(linear) == backbone + 8 * 96 + 8


def test_embeddings_stay_normalised_float32_under_bf16_autocast():
    encoder = encoder_of()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z_BD, pooled_BF = encoder(images(4))
    assert z_BD.dtype == pooled_BF.dtype == torch.float32
    torch.testing.assert_close(z_BD.norm(dim=1), torch.ones(4), rtol=0, atol=1e-6)


def test_random_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    first = encoder_of(seed=5)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = encoder_of(seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert states_equal(first, second)
    other = encoder_of(seed=6)
    assert not torch.equal(first.head[2].weight, other.head[2].weight)
    assert not torch.equal(first.backbone.conv1[0].weight, other.backbone.conv1[0].weight)


def test_digest_of_a_random_start_tells_settings_apart_and_not_seeds():
    digest = build_encoder(settings(), "random", 0)[1].digest
    assert build_encoder(settings(), "random", 1)[1].digest == digest
    assert build_encoder(settings(embedding_size=64), "random", 0)[1].digest != digest


def test_a_training_pass_draws_nothing():
    encoder = encoder_of("ghostnet_050")  # dropout 0.2 by default
    before = torch.get_rng_state()
    encoder(images(2))
    assert encoder.training
    assert torch.equal(torch.get_rng_state(), before)


def test_embed_scores_in_eval_mode_and_puts_the_mode_back():
    encoder = encoder_of()
    x = images(6)
    encoder(x)
    statistics = encoder.backbone.bn1.running_mean.clone()
    z_BD, pooled_BF = encoder.embed(x)
    assert encoder.training
    assert encoder.backbone.bn1.training
    assert torch.equal(encoder.backbone.bn1.running_mean, statistics)
    assert not z_BD.requires_grad
    assert not pooled_BF.requires_grad
    torch.testing.assert_close(encoder.embed(x[:2])[0], z_BD[:2])
    encoder.eval()
    assert torch.equal(encoder(x)[0], z_BD)
    encoder.embed(x)
    assert not encoder.training


def test_convolution_weights_lie_channels_last():
    conv = encoder_of().backbone.layer1[0].conv1.weight
    assert conv.is_contiguous(memory_format=torch.channels_last)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'resnet18'"):
        encoder_of("resnt18")
    with pytest.raises(UsageError, match=r"Did you mean 'resnet18\.a1_in1k'"):
        encoder_of("resnet18.a1_in2k")
    with pytest.raises(UsageError, match="--list backbones"):
        encoder_of("zzzzzzzzzz")
    with pytest.raises(UsageError, match="Did you mean 'linear'"):
        settings(head="linar")
    with pytest.raises(UsageError, match="image_size"):
        settings(image_size=0)


def test_an_image_size_the_network_cannot_take_is_one_sentence():
    with pytest.raises(UsageError, match=r"'test_vit' cannot take images of 30 pixels: .*patch"):
        encoder_of("test_vit", 30)


def test_names_of_backbones_by_pattern():
    assert {"test_resnet", "resnet18", "vit_tiny_patch16_224"} <= set(backbone_names())
    assert set(backbone_names("test_*vit")) == {"test_vit", "test_maxvit"}


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_a_saved_encoder_comes_back_bit_for_bit(tmp_path, backbone):
    chosen = settings(backbone, embedding_size=16)
    twin = MomentumTwin(build_encoder(chosen, "random", 3)[0])
    twin(images(4), torch.tensor([2, 0, 3, 1]))
    path = tmp_path / "pick.safetensors"
    save_encoder(path, twin.encoder.state_dict(), chosen, {"note": "n"})
    assert [file.name for file in tmp_path.iterdir()] == ["pick.safetensors"]
    loaded = load_encoder(path)
    assert not loaded.training
    z_BD, pooled_BF = twin.encoder.embed(images(5, seed=1))
    loaded_z_BD, loaded_pooled_BF = loaded.embed(images(5, seed=1))
    assert torch.equal(z_BD, loaded_z_BD)
    assert torch.equal(pooled_BF, loaded_pooled_BF)


def test_a_saved_encoder_serves_as_weights_of_the_next_study(tmp_path):
    chosen = settings(embedding_size=16)
    encoder = build_encoder(chosen, "random", 3)[0]
    save_encoder(tmp_path / "pick.safetensors", encoder.state_dict(), chosen, {})
    again, report = build_encoder(chosen, str(tmp_path / "pick.safetensors"), 4)
    assert states_equal(encoder, again)
    assert report.head_loaded
    assert (report.matched, report.unexpected) == (report.expected, 0)


@pytest.mark.parametrize("head", ["mlp", "linear"])
def test_a_pick_of_an_earlier_version_is_read(tmp_path, head):
    """Its metadata held the trial's configuration alone."""
    chosen = settings("test_vit", embedding_size=16, head=head)
    encoder = build_encoder(chosen, "random", 3)[0]
    study = {"backbone": chosen.backbone, "image_size": chosen.image_size}
    tensors = {name: value.contiguous() for name, value in encoder.state_dict().items()}
    save_file(tensors, tmp_path / "pick.safetensors", {"config_json": json.dumps({"study": study})})
    assert states_equal(encoder, load_encoder(tmp_path / "pick.safetensors"))


def test_files_that_hold_no_encoder_are_refused(tmp_path):
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, other, {"note": json.dumps("no encoder")})
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(other.read_bytes()[:20])
    with pytest.raises(UsageError, match="no encoder"):
        load_encoder(other)
    with pytest.raises(UsageError, match="cannot be read"):
        load_encoder(broken)
    with pytest.raises(UsageError, match="There is no encoder file"):
        load_encoder(tmp_path / "absent.safetensors")


def test_image_size_reaches_networks_that_are_built_for_one():
    encoder = encoder_of("test_vit", 48)
    assert encoder.backbone.pos_embed.shape[1] == (48 // 16) ** 2 + 1
    assert timm.get_pretrained_cfg("test_vit").input_size[-1] != 48
