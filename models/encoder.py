"""The encoder: a timm backbone, a projection head, an L2-normalised embedding.

Shapes: B batch, S image side in pixels, F backbone features, D embedding size.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from harness.errors import UsageError, nearest
from harness.whole_files import replacing
from models.weights import (
    WeightReport,
    backbone_tensors,
    file_digest,
    load_weights,
    read_weight_file,
    timm_weight_file,
)


def _mlp_head(features: int, embedding: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(features, features), nn.ReLU(inplace=True), nn.Linear(features, embedding)
    )


_METADATA_KEY = "encoder"
_EARLIER_KEY = "config_json"  # all that picks of an earlier version said
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_HEADS: dict[str, Callable[[int, int], nn.Module]] = {"mlp": _mlp_head, "linear": nn.Linear}


@dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """What an encoder is built of.

    Attributes:
        backbone: timm name, with or without the tag of its weights (``resnet18.a1_in1k``).
        image_size: S, in pixels.
        embedding_size: D.
        head: ``mlp`` (MoCo v2: Linear, ReLU, Linear) or ``linear``.

    Raises:
        UsageError: unknown head, or a size below 1.
    """

    backbone: str
    image_size: int
    embedding_size: int = 128
    head: str = "mlp"

    def __post_init__(self) -> None:
        if self.head not in _HEADS:
            raise UsageError(f"There is no head named '{self.head}'. {nearest(self.head, _HEADS)}")
        for name in ("image_size", "embedding_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"The {name} must be at least 1, not {getattr(self, name)}.")


class Encoder(nn.Module):
    """Images to embeddings.

    Attributes:
        backbone: gives the pooled features.
        head: gives the embedding before normalisation.
        feature_size: F.
        embedding_size: D.
    """

    def __init__(
        self, backbone: nn.Module, head: nn.Module, *, feature_size: int, embedding_size: int
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.feature_size = feature_size
        self.embedding_size = embedding_size

    def forward(self, x_B3SS: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings and backbone features of a batch of normalised images.

        Under autocast the backbone and the head run in its type; the normalisation is float32.

        Returns:
            z_BD: L2-normalised, float32. pooled_BF: features before the head, float32.
        """
        pooled_BF = self.backbone(x_B3SS)
        z_BD = F.normalize(self.head(pooled_BF).float(), dim=1)
        return z_BD, pooled_BF.float()

    @torch.no_grad()
    def embed(self, x_B3SS: Tensor) -> tuple[Tensor, Tensor]:
        """As ``forward``, in eval mode and without gradient; the mode is put back after."""
        was_training = self.training
        self.eval()
        try:
            return self(x_B3SS)
        finally:
            self.train(was_training)


def build_encoder(
    settings: EncoderSettings, weights: str, seed: int
) -> tuple[Encoder, WeightReport]:
    """Builds an encoder on the CPU, in train mode, its weights in channels-last order.

    Random weights depend on ``settings`` and ``seed`` alone, bit for bit; the global generator
    is left as it was. Dropout and stochastic depth are off (few of timm's networks have them by
    default), so that a pass draws nothing.

    Args:
        settings: what to build.
        weights: ``random``, ``timm`` (pretrained; the head starts at random) or a file.
        seed: of all random weights.

    Raises:
        UsageError: unknown backbone, an image size it cannot take, weights that are missing,
            out of reach or do not fit.
    """
    _check_backbone(settings.backbone)
    if weights == "random":
        encoder = _assemble(settings, seed)
        return encoder, _random_report(settings, encoder)
    if weights == "timm":
        path = timm_weight_file(settings.backbone)
        encoder = _assemble(settings, seed, pretrained=path)
        return encoder, _timm_report(settings, encoder, path)
    file = read_weight_file(Path(weights))
    encoder = _assemble(settings, seed)
    return encoder, load_weights(file, encoder.backbone, encoder.head, settings.backbone)


def save_encoder(
    path: Path, state: Mapping[str, Tensor], settings: EncoderSettings, notes: Mapping[str, str]
) -> None:
    """Writes an encoder (a query encoder, or a twin's copy) to one ``.safetensors`` file.

    The settings travel in the metadata, so that :func:`load_encoder` needs the file alone. A
    reader never sees half a file.

    Args:
        path: of the file.
        state: the encoder's state dict.
        settings: what it was built from.
        notes: further texts of the metadata.
    """
    tensors = {name: value.contiguous() for name, value in state.items()}
    # One entry: of several safetensors writes now one first and now the other.
    described = json.dumps({**notes, "settings": dataclasses.asdict(settings)}, sort_keys=True)
    with replacing(path) as temporary:
        save_file(tensors, temporary, {_METADATA_KEY: described})


def load_encoder(path: Path | str) -> Encoder:
    """Reads an encoder that :func:`save_encoder` wrote: on the CPU, in eval mode.

    ::

        from models.encoder import load_encoder
        encoder = load_encoder("results/officehome/picks/TRIAL_ID@EPOCH.safetensors")
        z_BD, pooled_BF = encoder.embed(x_B3SS)

    Raises:
        UsageError: the file is missing, damaged or not of :func:`save_encoder`.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"There is no encoder file '{path}'.")
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
    except SafetensorError as error:
        raise UsageError(f"The encoder file '{path}' cannot be read: {error}") from error
    if not metadata.keys() & {_METADATA_KEY, _EARLIER_KEY}:
        raise UsageError(f"The file '{path}' holds no encoder of this harness; is it a pick?")
    tensors = load_file(path)
    encoder = _assemble(_settings_of(metadata, tensors), seed=0)
    encoder.load_state_dict(tensors)
    return encoder.eval()


def _settings_of(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> EncoderSettings:
    if _METADATA_KEY in metadata:
        return EncoderSettings(**json.loads(metadata[_METADATA_KEY])["settings"])
    study = json.loads(metadata[_EARLIER_KEY])["study"]
    is_linear = "head.weight" in tensors
    last = tensors["head.weight" if is_linear else "head.2.weight"]
    return EncoderSettings(
        backbone=study["backbone"],
        image_size=study["image_size"],
        embedding_size=len(last),
        head="linear" if is_linear else "mlp",
    )


def backbone_names(pattern: str = "") -> tuple[str, ...]:
    """The architectures of timm, all or those that match a pattern such as ``*resnet*``."""
    return tuple(timm.list_models(pattern))


def parameter_count(module: nn.Module) -> int:
    """How many parameters (single numbers) a module has."""
    return sum(parameter.numel() for parameter in module.parameters())


def _check_backbone(name: str) -> None:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = get_close_matches(architecture.casefold(), timm.list_models(), n=1, cutoff=0.6)
        hint = f"Did you mean '{near[0]}'?" if near else "--list backbones shows the names."
        raise UsageError(f"There is no timm backbone named '{name}'. {hint}")
    if tag:
        tagged = timm.list_models(f"{architecture}.*", pretrained=True)
        if name not in tagged:
            raise UsageError(f"There is no timm backbone named '{name}'. {nearest(name, tagged)}")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The CPU's global generator, from which layers are initialised, seeded and put back."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        yield


def _assemble(settings: EncoderSettings, seed: int, pretrained: Path | None = None) -> Encoder:
    arguments: dict[str, Any] = {"num_classes": 0}
    config = timm.get_pretrained_cfg(settings.backbone)
    if config is not None and config.fixed_input_size:
        arguments["img_size"] = settings.image_size
    if pretrained is not None:
        # The hub's files are in timm's own layout, also where the first release was not.
        overlay = {"file": str(pretrained), "custom_load": False}
        arguments |= {"pretrained": True, "pretrained_cfg_overlay": overlay}
    with _seeded(seed):
        try:
            backbone = timm.create_model(settings.backbone, **arguments)
            _switch_off_drops(backbone)
            feature_size = _feature_size(backbone, settings.image_size)
        except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
            reason = str(error).partition("\n")[0] or "it asks for another size"
            raise UsageError(
                f"The backbone '{settings.backbone}' cannot take images of {settings.image_size}"
                f" pixels: {reason}"
            ) from error
        head = _HEADS[settings.head](feature_size, settings.embedding_size)
    encoder = Encoder(
        backbone, head, feature_size=feature_size, embedding_size=settings.embedding_size
    )
    # Up to twice as fast on a CPU for networks of convolutions, and the same for the others.
    return encoder.to(memory_format=torch.channels_last)


def _switch_off_drops(backbone: nn.Module) -> None:
    """Dropout and stochastic depth would draw from the global generator in every step."""
    for module in backbone.modules():
        if isinstance(module, _DROPOUTS):
            module.p = 0.0
        for name in ("drop_prob", "drop_rate"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


@torch.no_grad()
def _feature_size(backbone: nn.Module, image_size: int) -> int:
    pooled_BF = backbone.eval()(torch.zeros(1, 3, image_size, image_size))
    backbone.train()
    if not isinstance(pooled_BF, Tensor) or pooled_BF.ndim != 2:
        raise ValueError("it gives no pooled features")
    return pooled_BF.shape[1]


def _random_report(settings: EncoderSettings, encoder: Encoder) -> WeightReport:
    names = tuple(backbone_tensors(encoder.backbone))
    canonical = json.dumps({"weights": "random", **dataclasses.asdict(settings)}, sort_keys=True)
    return WeightReport(
        matched=0,
        expected=len(names),
        unexpected=0,
        missing=names,
        head_loaded=False,
        digest=hashlib.sha256(canonical.encode()).hexdigest(),
        sentence=f"random weights: all {len(names)} backbone tensors and the head.",
    )


def _timm_report(settings: EncoderSettings, encoder: Encoder, path: Path) -> WeightReport:
    expected = len(backbone_tensors(encoder.backbone))
    config = timm.get_pretrained_cfg(settings.backbone)
    return WeightReport(
        matched=expected,
        expected=expected,
        unexpected=0,
        missing=(),
        head_loaded=False,
        digest=file_digest(path),
        sentence=(
            f"timm's weights {config.architecture}.{config.tag}: loaded by timm; the head for the"
            " embedding starts at random."
        ),
    )
