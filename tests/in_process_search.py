"""A whole search without Ray: one trial after another in this process, on a miniature data set."""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from harness.config import TrialConfig
from harness.datasets.contract import DatasetIndex
from harness.options import TuneOptions
from harness.plan.samplers import describe_sampler
from harness.plan.studies import prepare_studies
from harness.records import TrialRecord
from harness.search.driver import SearchDriver
from harness.training.checkpoint import TrialFiles, trial_folder
from harness.training.run_trial import run_trial

DOMAINS = ("ink", "oil", "photo", "wax")
COLOURS = {
    "blue": (40, 60, 200),
    "green": (30, 190, 60),
    "red": (200, 40, 30),
    "sand": (200, 180, 90),
}


def write_domains(root: Path, domains: int = 4, per_class: int = 4) -> Path:
    """Coloured squares on the ground of their domain, each with noise of its own."""
    rng = np.random.default_rng(0)
    for place, domain in enumerate(DOMAINS[:domains]):
        for name, colour in COLOURS.items():
            folder = root / domain / name
            folder.mkdir(parents=True)
            for number in range(per_class):
                pixels = rng.integers(0, 70, (32, 32, 3)) + 60 * place
                pixels[4 + place : 28, 6:26] = np.asarray(colour) + rng.integers(-30, 30, 3)
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(folder / f"{number}.png")
    return root


def permuted(index: DatasetIndex, seed: int) -> DatasetIndex:
    """The data set with the labels permuted among all images of all domains."""
    pool = np.concatenate([domain.class_id_N for domain in index.domains])
    pool = np.random.default_rng(seed).permutation(pool)
    ends = np.cumsum([len(domain) for domain in index.domains])[:-1]
    domains = tuple(
        dataclasses.replace(domain, class_id_N=part)
        for domain, part in zip(index.domains, np.split(pool, ends), strict=True)
    )
    return dataclasses.replace(index, domains=domains)


@dataclass
class Searched:
    """What a search came to.

    Attributes:
        configs: the trials that were handed out, in order.
        records: every ended trial by id, those of earlier runs included.
        weights: of the scored encoder after the last epoch of finished trials, by trial id.
        checkpoints: folder of the checkpoint after each trial's first epoch.
        root: results folder of the data set.
    """

    configs: list[TrialConfig]
    records: dict[str, TrialRecord]
    weights: dict[str, dict[str, Tensor]]
    checkpoints: Path
    root: Path

    @property
    def board(self) -> pd.DataFrame:
        return pd.read_parquet(self.root / "leaderboard")


def search(data_root: Path, out: Path, *, trials: int, relabel=None, **flags) -> Searched:
    """Searches; the weights of ended trials go to the storage as a worker would put them there.

    Args:
        data_root: of the images; decoded frames lie beside it.
        out: folder of the results.
        trials: per pair.
        relabel: function of the index that gives it other labels, after the data was prepared.
        flags: of ``harness.tune``.
    """
    small = {"image_size": 32, "batch_size": 8, "epochs": 2, "backbone": "test_resnet"}
    prepared = prepare_studies(
        TuneOptions(
            dataset="folder",
            data_root=data_root,
            cache_dir=data_root.parent / "cache",
            out=out,
            **(small | flags),
        ),
        trials=trials,
        sampler=describe_sampler("tpe"),
        scope=flags.get("scope", "pair"),
    )
    index = prepared.data.index if relabel is None else relabel(prepared.data.index)
    data = dataclasses.replace(prepared.data, index=index)
    prepared.store.open_for_writing(index)
    driver = SearchDriver(
        prepared.plans, prepared.pairs, index, prepared.store, prepared.storage, prepared.context
    )
    searched = Searched([], {}, {}, out / "checkpoints", prepared.store.root)
    while (config := driver.next_trial()) is not None:
        searched.configs.append(config)
        folder = trial_folder(prepared.storage, config.trial_id)

        def report(record, folder=folder, config=config):
            if max(record.epochs) == 1:
                first = searched.checkpoints / config.trial_id
                shutil.copytree(folder, first, ignore=shutil.ignore_patterns(".*"))
            return driver.report(record)

        run_trial(config, data, report, TrialFiles(folder, "token"))
        for path in folder.glob(f"{config.trial_id}@{config.study.epochs}.safetensors"):
            searched.weights[config.trial_id] = load_file(path)
        driver.end(config)
    driver.finish()
    prepared.store.close()
    for book in driver.books:
        searched.records |= {record.config.trial_id: record for record in book.in_order}
    return searched
