"""A data set of two small domains of unequal size, and trainings on it."""

from pathlib import Path

import torch
from image_trees import write_tree

from harness.config import StudyConfig, TrialConfig
from harness.datasets.contract import DatasetIndex
from harness.datasets.frame_store import pair_frames, prepare
from harness.datasets.registry import open_dataset
from harness.methods import PairShape, get_method
from harness.training.batches import batch_size_for
from harness.training.pair_training import LoopSettings, PairTraining
from harness.training.views import frame_size
from models.encoder import EncoderSettings, build_encoder

IMAGE_SIZE, BATCH = 32, 12
CLASSES = ("bed", "cup", "fan", "pen")
SMALLER = 5 * len(CLASSES)
CPU = torch.device("cpu")


def write_pair(folder: Path) -> tuple[DatasetIndex, Path]:
    """20 images in domain art and 28 in domain sketch, decoded; with the cache folder."""
    root, cache = folder / "tiny", folder / "cache"
    write_tree(root, [f"art/{name}" for name in CLASSES], images=5)
    write_tree(root, [f"sketch/{name}" for name in CLASSES], images=7)
    index = open_dataset("folder", root, cache)
    names = [domain.name for domain in index.domains]
    return prepare(index, names, frame_size(IMAGE_SIZE), cache), cache


def first_values(method: str, preset: str = "scratch", n: int = SMALLER, **assigned):
    """All parameters of the method at the first point of its search."""
    chosen = get_method(method)
    paper = chosen.paper_point("tiny", n)
    point = {
        name: min(max(paper[name], distribution.low), distribution.high)
        for name, distribution in chosen.space(n).items()
    }
    return chosen.resolve(preset, "tiny", {**point, **assigned})


def train_pair(
    method: str,
    index: DatasetIndex,
    cache: Path,
    epochs: int,
    device: torch.device = CPU,
    **assigned,
):
    """A training of the method on the pair, not yet begun; one thread, as many run at once."""
    torch.set_num_threads(1)
    pair = ("art", "sketch")
    frames = pair_frames(index, pair, "close", 0, frame_size(IMAGE_SIZE), cache)
    sizes = [len(domain) for domain in frames]
    recipe = get_method(method).build(
        first_values(method, **assigned), PairShape(*sizes, batch_size_for(BATCH, *sizes))
    )
    settings = EncoderSettings(
        backbone="test_resnet",
        image_size=IMAGE_SIZE,
        embedding_size=recipe.embedding_size,
        head=recipe.head,
    )
    loop = LoopSettings(
        epochs=epochs, batch_size=BATCH, image_size=IMAGE_SIZE, precision="fp32", seed=5
    )
    encoder = build_encoder(settings, "random", 3)[0]
    return PairTraining(recipe, loop, encoder, *frames, device)


def trial_config(method: str, index: DatasetIndex, scenario: str, **changes) -> TrialConfig:
    """A trial of one epoch on the pair art to sketch."""
    study = StudyConfig(
        dataset=index.name,
        fingerprint=index.fingerprint,
        scenario=scenario,
        method=method,
        backbone="test_resnet",
        weights="random",
        image_size=IMAGE_SIZE,
        batch_size=BATCH,
        preset="scratch",
        objective="mutual_nn",
        **({"epochs": 1} | changes),
    )
    return TrialConfig(
        study=study,
        trial_id=f"{study.study_id}.art-sketch.0000",
        number=0,
        pair=("art", "sketch"),
        params=first_values(method, n=SMALLER // 2),
        init_seed=1,
        seed=2,
    )
