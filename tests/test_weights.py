import argparse
import hashlib
import socket
import time
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

import models.weights
from harness.errors import UsageError
from models.encoder import EncoderSettings, build_encoder

SETTINGS = EncoderSettings(backbone="test_resnet", image_size=32, embedding_size=16)


@pytest.fixture(scope="module")
def tensors():
    """The weights of another start than the tests build, by timm's names."""
    state = build_encoder(SETTINGS, "random", 99)[0].backbone.state_dict()
    return {name: value.contiguous() for name, value in state.items()}


def saved(path, content):
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    return str(path)


def prefixed(prefix, tensors):
    return {prefix + name: value for name, value in tensors.items()}


def assert_backbone_is(encoder, tensors):
    state = encoder.backbone.state_dict()
    assert all(torch.equal(state[name], value) for name, value in tensors.items())


def images(batch=2, side=32):
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_moco_v2_checkpoint_loads_backbone_and_head(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        moco = torchvision.models.resnet18(num_classes=16)
        moco.fc = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), moco.fc)
    key = {name: torch.zeros_like(value) for name, value in moco.state_dict().items()}
    checkpoint = {
        "epoch": 800,
        "arch": "resnet18",
        "state_dict": {
            **prefixed("module.encoder_q.", moco.state_dict()),
            **prefixed("module.encoder_k.", key),
            "module.queue": torch.zeros(16, 8),
            "module.queue_ptr": torch.zeros(1, dtype=torch.long),
        },
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.03}]},
    }
    path = saved(tmp_path / "moco.pth.tar", checkpoint)
    settings = EncoderSettings(backbone="resnet18", image_size=32, embedding_size=16)
    encoder, report = build_encoder(settings, path, 0)
    assert (report.matched, report.expected, report.unexpected) == (100, 100, 0)
    assert report.missing == ()
    assert report.head_loaded
    assert report.digest == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert "100 of 100" in report.sentence
    with torch.no_grad():
        expected_BD = nn.functional.normalize(moco.eval()(images()), dim=1)
    torch.testing.assert_close(encoder.embed(images())[0], expected_BD, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "encoder_q.", "module.encoder_q.", "backbone.", "model.", "module.backbone."],
)
def test_known_prefixes_are_stripped(tmp_path, tensors, prefix):
    path = saved(tmp_path / "weights.pth", prefixed(prefix, tensors))
    encoder, report = build_encoder(SETTINGS, path, 0)
    assert_backbone_is(encoder, tensors)
    assert report.matched == report.expected == 75
    assert not report.head_loaded


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth", "w.pth.tar"])
def test_known_kinds_of_files_are_read(tmp_path, tensors, name):
    encoder, _ = build_encoder(SETTINGS, saved(tmp_path / name, dict(tensors)), 0)
    assert_backbone_is(encoder, tensors)


@pytest.mark.parametrize("nest", [("model",), ("state_dict",), ("state_dict", "model")])
def test_nested_tensors_are_found(tmp_path, tensors, nest):
    content = dict(tensors)
    for key in reversed(nest):
        content = {key: content, "epoch": 3}
    encoder, _ = build_encoder(SETTINGS, saved(tmp_path / "w.pth", content), 0)
    assert_backbone_is(encoder, tensors)


def test_files_from_before_batch_norm_counted_its_steps_load_whole(tmp_path, tensors):
    old = {name: value for name, value in tensors.items() if "num_batches" not in name}
    assert len(old) < 0.9 * len(tensors)
    _, report = build_encoder(SETTINGS, saved(tmp_path / "w.pth", old), 0)
    assert report.matched == report.expected


def test_a_classifier_is_not_taken_for_the_head(tmp_path, tensors):
    content = {**tensors, "fc.weight": torch.ones(1000, 96), "fc.bias": torch.ones(1000)}
    encoder, report = build_encoder(SETTINGS, saved(tmp_path / "w.pth", content), 7)
    assert_backbone_is(encoder, tensors)
    assert not report.head_loaded
    assert report.unexpected == 2
    assert "head" in report.sentence
    assert "random" in report.sentence
    random = build_encoder(SETTINGS, "random", 7)[0]
    assert torch.equal(encoder.head[2].weight, random.head[2].weight)


def test_a_head_of_another_size_starts_at_random_and_is_said(tmp_path, tensors):
    head = nn.Sequential(nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 128)).state_dict()
    path = saved(tmp_path / "w.pth", {**tensors, **prefixed("fc.", head)})
    encoder, report = build_encoder(SETTINGS, path, 7)
    assert not report.head_loaded
    assert "fc.2.weight is 128x96 instead of 16x96" in report.sentence
    assert not torch.equal(encoder.head[0].weight, head["0.weight"])


def test_a_moco_v1_checkpoint_fits_the_linear_head(tmp_path, tensors):
    fc = nn.Linear(96, 16).state_dict()
    path = saved(tmp_path / "w.pth", prefixed("encoder_q.", {**tensors, **prefixed("fc.", fc)}))
    linear = EncoderSettings(
        backbone="test_resnet", image_size=32, embedding_size=16, head="linear"
    )
    encoder, report = build_encoder(linear, path, 0)
    assert report.head_loaded
    assert torch.equal(encoder.head.weight, fc["weight"])


def test_up_to_a_tenth_may_be_missing_and_is_named(tmp_path, tensors):
    content = {name: v for name, v in tensors.items() if not name.startswith("layer4.0.bn2")}
    encoder, report = build_encoder(SETTINGS, saved(tmp_path / "w.pth", content), 0)
    assert_backbone_is(encoder, content)
    assert report.matched == 71
    assert "layer4.0.bn2.weight" in report.missing
    assert "4 stay random" in report.sentence


def test_a_file_of_another_architecture_is_refused_with_the_difference(tmp_path, tensors):
    path = saved(tmp_path / "w.pth", {"arch": "test_resnet", "state_dict": dict(tensors)})
    settings = EncoderSettings(backbone="test_vit", image_size=32)
    with pytest.raises(UsageError) as caught:
        build_encoder(settings, path, 0)
    sentence = str(caught.value)
    assert "does not fit 'test_vit': 0 of" in sentence
    assert "missing: cls_token" in sentence
    assert "the file says it is of 'test_resnet'" in sentence


def test_a_backbone_tensor_of_another_shape_is_refused(tmp_path, tensors):
    content = {**tensors, "layer1.0.conv1.weight": torch.zeros(3, 3)}
    with pytest.raises(UsageError, match=r"layer1\.0\.conv1\.weight is 3x3 instead of"):
        build_encoder(SETTINGS, saved(tmp_path / "w.pth", content), 0)


def test_a_file_of_a_deeper_network_of_the_same_kind_is_refused(tmp_path, tensors):
    deeper = {
        name.replace("layer4.0", f"layer4.{block}"): value
        for block in range(4)
        for name, value in tensors.items()
    }
    with pytest.raises(UsageError, match=r"75 of 75 .*unknown: layer4\.1"):
        build_encoder(SETTINGS, saved(tmp_path / "w.pth", deeper), 0)


def test_position_embeddings_are_resized_to_the_image_size(tmp_path):
    vit = timm.create_model("test_vit", num_classes=0, img_size=64)
    path = saved(tmp_path / "vit.safetensors", vit.state_dict())
    settings = EncoderSettings(backbone="test_vit", image_size=32)
    encoder, report = build_encoder(settings, path, 0)
    assert report.matched == report.expected
    assert encoder.backbone.pos_embed.shape == (1, 2 * 2 + 1, 64)
    assert torch.equal(encoder.backbone.blocks[0].attn.qkv.weight, vit.blocks[0].attn.qkv.weight)


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("make", [lambda path: Trap(path), lambda path: argparse.Namespace(lr=1)])
def test_a_pickle_that_could_run_code_is_refused_unread(tmp_path, tensors, make):
    mark = tmp_path / "ran"
    path = saved(tmp_path / "w.pth", {"state_dict": dict(tensors), "args": make(mark)})
    with pytest.raises(UsageError, match=r"more than tensors.*docs/weights\.md"):
        build_encoder(SETTINGS, path, 0)
    assert not mark.exists()


def test_files_that_cannot_serve_are_one_sentence(tmp_path, tensors):
    def refusal(path):
        with pytest.raises(UsageError) as caught:
            build_encoder(SETTINGS, str(path), 0)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "There is no weight file" in refusal(tmp_path / "absent.pth")
    assert "There is no weight file" in refusal(tmp_path)
    assert "Did you mean 'random'" in refusal("randon")
    (tmp_path / "notes.txt").write_text("no weights")
    assert "none of the kinds .safetensors" in refusal(tmp_path / "notes.txt")
    assert "holds no tensors" in refusal(saved(tmp_path / "w.pth", {"epoch": 3}))
    assert "holds no tensors" in refusal(saved(tmp_path / "l.pth", [torch.zeros(2)]))
    for name in ("whole.pth", "whole.safetensors"):
        whole = Path(saved(tmp_path / name, dict(tensors)))
        whole.write_bytes(whole.read_bytes()[:2000])
        assert "cannot be read" in refusal(whole)
    (tmp_path / "empty.pth").touch()
    assert "empty.pth" in refusal(tmp_path / "empty.pth")
    (tmp_path / "text.pth").write_text("<html>404</html>")
    assert "damaged" in refusal(tmp_path / "text.pth")


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty hub cache, and a hub that nothing answers for."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    point_hub_at(monkeypatch, "http://127.0.0.1:9")
    return tmp_path / "hub"


def point_hub_at(monkeypatch, endpoint):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def assert_out_of_reach(within):
    start = time.monotonic()
    with pytest.raises(UsageError) as caught:
        build_encoder(SETTINGS, "timm", 0)
    assert time.monotonic() - start < within
    sentence = str(caught.value)
    assert "'test_resnet' (timm/test_resnet.r160_in1k) are not in the cache" in sentence
    assert "\n" not in sentence


def test_timm_weights_offline_without_a_cache(hub_cache, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert_out_of_reach(within=5)


def test_timm_weights_where_the_hub_refuses_connections(hub_cache):
    assert_out_of_reach(within=5)


def test_timm_weights_where_the_hub_never_answers(hub_cache, monkeypatch):
    monkeypatch.setattr(models.weights, "REACH_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        point_hub_at(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert_out_of_reach(within=5)


def test_timm_weights_from_a_url_out_of_reach(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    settings = EncoderSettings(backbone="gcvit_xxtiny", image_size=64)
    with pytest.raises(UsageError, match=r"gcvit_xxtiny.*could not be fetched"):
        build_encoder(settings, "timm", 0)


def test_cached_timm_weights_need_no_network(hub_cache, tensors):
    repository = hub_cache / "models--timm--test_resnet.r160_in1k"
    snapshot = repository / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    fc = {"fc.weight": torch.zeros(1000, 96), "fc.bias": torch.zeros(1000)}
    file = saved(snapshot / "model.safetensors", {**tensors, **fc})
    encoder, report = build_encoder(SETTINGS, "timm", 7)
    assert_backbone_is(encoder, tensors)
    assert report.digest == hashlib.sha256(Path(file).read_bytes()).hexdigest()
    assert "test_resnet.r160_in1k" in report.sentence
    assert report.matched == report.expected == 75
    assert not report.head_loaded


def test_architectures_without_pretrained_weights():
    name = next(n for n in timm.list_models() if not timm.list_models(n + ".*", pretrained=True))
    settings = EncoderSettings(backbone=name, image_size=32)
    with pytest.raises(UsageError, match=f"no pretrained weights for '{name}'"):
        build_encoder(settings, "timm", 0)
