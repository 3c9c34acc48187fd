"""Where weights come from: files of others, timm's own, and how well they fit.

``docs/weights.md`` says which files are understood.
"""

import hashlib
import pickle
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import huggingface_hub.constants
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.errors import UsageError, nearest

SUFFIXES = (".safetensors", ".pth", ".pth.tar", ".pt")
REACH_SECONDS = 5.0
"""How long a host may take to say that it is there, before weights count as out of reach."""

_LEAST_SHARE = 0.9
_NESTED_UNDER = ("state_dict", "model")
_PREFIXES = (
    "",
    "module.encoder_q.",
    "encoder_q.",
    "module.",
    "backbone.",
    "module.backbone.",
    "model.",
    "module.model.",
    "model.backbone.",
)
_IGNORED = ("encoder_k.", "module.encoder_k.", "queue", "module.queue")
_HUB_NAMES = ("model.safetensors", "pytorch_model.bin")
_STEP_COUNTER = "num_batches_tracked"


@dataclass(frozen=True, kw_only=True)
class WeightReport:
    """What became of the weights an encoder was built with.

    Attributes:
        matched: backbone tensors taken over.
        expected: backbone tensors there are (parameters and running statistics; the step
            counters of batch norm do not count).
        unexpected: tensors of the file that nothing here asks for, apart from a MoCo file's key
            encoder and queue.
        missing: names of the backbone tensors that stay random.
        head_loaded: whether the head's weights came from the file too.
        digest: sha256 of the file, or of the settings of a random start (without the seed).
        sentence: all this for a reader.
    """

    matched: int
    expected: int
    unexpected: int
    missing: tuple[str, ...]
    head_loaded: bool
    digest: str
    sentence: str


@dataclass(frozen=True)
class WeightFile:
    """A file of tensors, read.

    Attributes:
        path: the file.
        tensors: by the names they have in the file, on the CPU.
        architecture: what the file says it is of (``arch`` in MoCo's files), or None.
        digest: sha256 of the file.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    architecture: str | None
    digest: str


def backbone_tensors(backbone: nn.Module) -> dict[str, Tensor]:
    """The tensors that make a backbone: its state without batch norm's step counters."""
    state = backbone.state_dict()
    return {name: state[name] for name in state if not name.endswith(_STEP_COUNTER)}


def file_digest(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_weight_file(path: Path) -> WeightFile:
    """Reads a weight file without running code from it.

    Tensors nested under ``state_dict`` or ``model`` are found.

    Raises:
        UsageError: the file is missing, of an unknown kind, damaged, holds more than tensors and
            plain values, or holds no tensors.
    """
    if not path.is_file():
        raise UsageError(
            f"There is no weight file '{path}': give one that exists ({', '.join(SUFFIXES)}), or a"
            f" name. {nearest(str(path), ('random', 'timm'))}"
        )
    if not path.name.endswith(SUFFIXES):
        raise UsageError(f"The weight file '{path}' is of none of the kinds {', '.join(SUFFIXES)}.")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"The weight file '{path}' is damaged or holds more than tensors, which is not read"
            " because it could run code; docs/weights.md shows how to save its tensors alone."
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"The weight file '{path}' cannot be read: {reason}") from error
    architecture = content.get("arch") if isinstance(content, Mapping) else None
    tensors = _tensors_in(content)
    if not tensors:
        raise UsageError(f"The weight file '{path}' holds no tensors by name.")
    return WeightFile(
        path, tensors, architecture if isinstance(architecture, str) else None, file_digest(path)
    )


def load_weights(file: WeightFile, backbone: nn.Module, head: nn.Module, name: str) -> WeightReport:
    """Loads a file's weights into a backbone, and into a head where the file has a fitting one.

    The prefix of the names is the one of the known ones under which most tensors fit. Where they
    do not all fit, timm's own conversion of that architecture's public files is tried (names of
    the first release, position embeddings of another image size).

    Args:
        file: from :func:`read_weight_file`.
        backbone: changed in place.
        head: changed in place.
        name: how the backbone is called in a message.

    Raises:
        UsageError: under 90 % of the backbone's tensors are in the file, one has another shape,
            or the file is of a larger architecture.
    """
    expected = backbone_tensors(backbone)
    prefix, found = max(
        ((prefix, _without(prefix, file.tensors)) for prefix in _PREFIXES),
        key=lambda candidate: _fitting(candidate[1], expected),
    )
    if _fitting(found, expected) < len(expected):
        found = _converted(found, backbone, expected)
    missing = tuple(each for each in expected if each not in found)
    _refuse_bad_fit(file, found, expected, missing, name)
    head_names, head_note = _load_head(file, prefix, head)
    matched = {each: found[each] for each in expected if each in found}
    backbone.load_state_dict({**backbone.state_dict(), **matched})
    used = set(head_names) | {prefix + each for each in found if each in matched}
    unexpected = sum(
        1
        for each in file.tensors
        if each not in used and not each.startswith(_IGNORED) and not each.endswith(_STEP_COUNTER)
    )
    left = f", {len(missing)} stay random ({_some(missing)})" if missing else ""
    return WeightReport(
        matched=len(matched),
        expected=len(expected),
        unexpected=unexpected,
        missing=missing,
        head_loaded=bool(head_names),
        digest=file.digest,
        sentence=(
            f"{file.path.name}: {len(matched)} of {len(expected)} backbone tensors matched{left}; "
            f"{unexpected} tensors of the file unused; {head_note}."
        ),
    )


def timm_weight_file(backbone: str) -> Path:
    """The file of a backbone's pretrained timm weights: from the cache, else fetched into it.

    A cached file is used without asking the network, so that trials on nodes without network
    start at once. A host that does not answer in ``REACH_SECONDS`` is given up.

    Raises:
        UsageError: timm has no weights for it, or they are neither cached nor within reach.
    """
    config = timm.get_pretrained_cfg(backbone)
    if config is None or not (config.hf_hub_id or config.url):
        raise UsageError(
            f"timm has no pretrained weights for '{backbone}': give weights 'random' or a file."
        )
    if not config.hf_hub_id:
        return _fetched(lambda: _from_url(config.url), backbone, config.url, torch.hub.get_dir())
    repository, _, revision = config.hf_hub_id.partition("@")
    names = (config.hf_hub_filename,) if config.hf_hub_filename else _HUB_NAMES
    for name in names:
        cached = huggingface_hub.try_to_load_from_cache(repository, name, revision=revision or None)
        if isinstance(cached, str):
            return Path(cached)
    return _fetched(
        lambda: _from_hub(repository, names, revision or None),
        backbone,
        repository,
        huggingface_hub.constants.HF_HUB_CACHE,
    )


def _from_hub(repository: str, names: tuple[str, ...], revision: str | None) -> Path:
    for name in names:
        try:
            # hf_hub_download alone tries six times, most of a minute, where there is no network.
            huggingface_hub.get_hf_file_metadata(
                huggingface_hub.hf_hub_url(repository, name, revision=revision),
                timeout=REACH_SECONDS,
            )
        except EntryNotFoundError:
            continue
        return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision))
    raise FileNotFoundError(f"{repository} holds none of {', '.join(names)}")


def _from_url(url: str) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(
            urllib.request.Request(url, method="HEAD"), timeout=REACH_SECONDS
        ):
            torch.hub.download_url_to_file(url, str(path), progress=False)
    return path


def _fetched(fetch: Callable[[], Path], backbone: str, source: str, cache: str) -> Path:
    try:
        return fetch()
    except Exception as error:  # each version of the hub's client has errors of its own
        raise UsageError(
            f"The pretrained weights of '{backbone}' ({source}) are not in the cache ({cache}) and"
            f" could not be fetched ({type(error).__name__}): fetch them on a machine with"
            " network, or give weights 'random' or a file (docs/weights.md)."
        ) from error


def _tensors_in(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        return {}
    for key in _NESTED_UNDER:
        if isinstance(content.get(key), Mapping):
            return _tensors_in(content[key])
    return {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }


def _without(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _fitting(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> int:
    return sum(
        1 for name, value in expected.items() if name in found and found[name].shape == value.shape
    )


def _converted(
    found: dict[str, Tensor], backbone: nn.Module, expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    convert = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return found
    try:
        converted = convert(dict(found), backbone)
    except Exception:  # a file it is not made for: the sentence about the bad fit follows
        return found
    return converted if _fitting(converted, expected) > _fitting(found, expected) else found


def _refuse_bad_fit(
    file: WeightFile,
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    missing: tuple[str, ...],
    name: str,
) -> None:
    reshaped = [
        f"{each} is {_shape(found[each])} instead of {_shape(expected[each])}"
        for each in expected
        if each in found and found[each].shape != expected[each].shape
    ]
    parts = {each.partition(".")[0] for each in expected}
    extra = [
        each
        for each in found
        if each not in expected
        and each.partition(".")[0] in parts
        and not each.endswith(_STEP_COUNTER)
    ]
    few = len(expected) - len(missing) < _LEAST_SHARE * len(expected)
    many = len(extra) > (1 - _LEAST_SHARE) * len(expected)
    if not (reshaped or few or many):
        return
    differences = [
        *([f"of another shape: {_some(reshaped)}"] if reshaped else []),
        *([f"missing: {_some(missing)}"] if missing else []),
        *([f"unknown: {_some(extra)}"] if extra else []),
    ]
    says = f"; the file says it is of '{file.architecture}'" if file.architecture else ""
    matched = len(expected) - len(missing) - len(reshaped)
    raise UsageError(
        f"The weight file '{file.path}' does not fit '{name}': {matched} of {len(expected)}"
        f" backbone tensors match ({'; '.join(differences)}){says}. Give the backbone the file"
        " was made with."
    )


def _load_head(file: WeightFile, prefix: str, head: nn.Module) -> tuple[list[str], str]:
    """Loads the head if all of it is in the file; returns the names used and what to say."""
    expected = head.state_dict()
    note = "it has no head for the embedding, which starts at random"
    for stem in (prefix + "fc.", prefix.removesuffix("backbone.") + "head."):
        names = {each: stem + each for each in expected if stem + each in file.tensors}
        if not names:
            continue
        other = next(_other_shapes(file.tensors, names, expected), None)
        if other is None and len(names) == len(expected):
            head.load_state_dict({each: file.tensors[name] for each, name in names.items()})
            return list(names.values()), "the head was loaded too"
        note = f"its head does not fit ({other or 'other layers'}): ours starts at random"
    return [], note


def _other_shapes(
    tensors: Mapping[str, Tensor], names: Mapping[str, str], expected: Mapping[str, Tensor]
) -> Iterator[str]:
    for each, name in names.items():
        if tensors[name].shape != expected[each].shape:
            yield f"{name} is {_shape(tensors[name])} instead of {_shape(expected[each])}"


def _shape(tensor: Tensor) -> str:
    return "x".join(str(side) for side in tensor.shape) or "scalar"


def _some(names: list[str] | tuple[str, ...], most: int = 3) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
