"""A trial: the training loop with its label-free scores, its vault and its checkpoint.

Runs in a test, under ``harness.train`` and inside a worker alike; it never imports Ray.
"""

import copy
import socket
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import record_function

from harness.config import Pair, StudyConfig, TrialConfig
from harness.datasets.contract import DatasetIndex
from harness.datasets.frame_store import pair_frames
from harness.datasets.scenario import domain_subset
from harness.evaluation.oracle import mean_over_directions
from harness.evaluation.snapshots import Snapshot, SnapshotKeeper
from harness.evaluation.vault import LabelVault
from harness.methods import PairShape, get_method
from harness.plugins import PluginFile, load_entry_points
from harness.records import EpochRecord, TrialRecord
from harness.seeds import derive_seed
from harness.training.batches import batch_size_for
from harness.training.open_set_detection import accepted_queries
from harness.training.pair_training import LoopSettings, PairTraining
from harness.training.views import frame_size
from harness.validators import PairEmbeddings, get_validator, score_all
from harness.versions import versions_json
from models.encoder import Encoder, EncoderSettings, build_encoder

VALIDATOR_SEED = 0
"""Samples and reference clusterings are the same for all trials: the ruler does not move."""


@dataclass(frozen=True)
class TrialData:
    """What all trials of a run share.

    Attributes:
        index: the data set as found.
        cache_dir: where its decoded frames are.
        plugin: file from outside with losses and methods, or None.
    """

    index: DatasetIndex
    cache_dir: Path
    plugin: PluginFile | None = None


@lru_cache(maxsize=1)
def _initial_encoder(settings: EncoderSettings, weights: str, seed: int) -> Encoder:
    """The untrained encoder; every trial of a study starts from a copy of the same."""
    return build_encoder(settings, weights, seed)[0]


class ScoredTrial:
    """One trial, one report after another.

    Attributes:
        config: what it trains.
        device: what it trains on.
        encoder_settings: what the encoder was built from.
        training: the loop's state.
        keeper: weights and embeddings of the epochs a pick may choose.
        history: all reports so far.
    """

    def __init__(self, config: TrialConfig, data: TrialData, device: torch.device) -> None:
        study = config.study
        torch.set_num_threads(study.threads)
        load_entry_points()
        if data.plugin is not None:
            data.plugin.load()
        self.config = config
        self.device = device
        self._index = data.index
        frames_a, frames_b = pair_frames(
            data.index,
            config.pair,
            study.scenario,
            study.scenario_seed,
            frame_size(study.image_size),
            data.cache_dir,
        )
        shape = PairShape(
            len(frames_a),
            len(frames_b),
            batch_size_for(study.batch_size, len(frames_a), len(frames_b)),
        )
        method = get_method(study.method)
        recipe = method.build(config.params, shape)
        self.encoder_settings = EncoderSettings(
            backbone=study.backbone,
            image_size=study.image_size,
            embedding_size=recipe.embedding_size,
            head=recipe.head,
        )
        encoder = copy.deepcopy(
            _initial_encoder(self.encoder_settings, study.weights, config.init_seed)
        )
        settings = LoopSettings(
            epochs=study.epochs,
            batch_size=study.batch_size,
            image_size=study.image_size,
            precision=study.precision,
            seed=config.seed,
        )
        started = time.perf_counter()
        self.training = PairTraining(recipe, settings, encoder, frames_a, frames_b, device)
        self._start_seconds = time.perf_counter() - started
        self.vault = pair_vault(data.index, study, config.pair)
        self.keeper = SnapshotKeeper(f"P@{data.index.spec.ks[0]}")
        self.history: list[EpochRecord] = []
        self._previous: tuple[Tensor, Tensor] | None = None

    @property
    def done(self) -> bool:
        """Whether every epoch is trained and reported."""
        return bool(self.history) and self.training.finished

    def next_report(self) -> EpochRecord:
        """The untrained state first, then one epoch a call.

        Raises:
            NonFiniteLossError: the loss became NaN or infinite.
        """
        started = time.perf_counter()
        losses: dict[str, float] = {}
        if self.history:
            self._previous = self.training.embeddings
            losses = self.training.run_epoch()
        report = self._report(losses, started)
        self.history.append(report)
        if report.epoch > 0:
            self.keeper.offer(report.epoch, report.objective, report.sealed, self._snapshot)
        return report

    def sealed_queries(self) -> dict[int, str]:
        """By epoch the sealed scores of single queries, for the epochs a pick may choose."""
        return {
            epoch: self.vault.score_queries(
                torch.from_numpy(snapshot.z_a_ND), torch.from_numpy(snapshot.z_b_ND)
            )
            for epoch, snapshot in self.keeper.by_epoch().items()
        }

    def describe(self, record: TrialRecord) -> None:
        """Writes into a trial's record where and how it runs."""
        gpu = self.device.type == "cuda"
        record.host = socket.gethostname()
        record.device = torch.cuda.get_device_name(self.device) if gpu else "cpu"
        record.batch_size = self.training.batch_size
        record.notes = tuple(self.training.recipe.notes)
        record.versions = versions_json()

    def state_dict(self) -> dict[str, Any]:
        """Everything that another process needs to go on from the last report.

        What came of labels stands under ``sealed`` alone.
        """
        return {
            "trial_id": self.config.trial_id,
            "training": self.training.state_dict(),
            "keeper": self.keeper.state_dict(),
            "history": [report.without_labels().to_json() for report in self.history],
            "previous": self._previous,
            "sealed": {
                "keeper": self.keeper.sealed_state_dict(),
                "history": [report.from_labels for report in self.history],
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from :meth:`state_dict`."""
        sealed = state["sealed"]
        self.training.load_state_dict(state["training"])
        self.keeper.load_state_dict(state["keeper"], sealed["keeper"])
        self.history = [
            EpochRecord.from_json(text).with_labels(from_labels)
            for text, from_labels in zip(state["history"], sealed["history"], strict=True)
        ]
        self._previous = None
        if state["previous"] is not None:
            previous_a_ND, previous_b_ND = (z_ND.to(self.device) for z_ND in state["previous"])
            self._previous = (previous_a_ND, previous_b_ND)

    def _report(self, losses: dict[str, float], started: float) -> EpochRecord:
        z_a_ND, z_b_ND = self.training.embeddings
        previous_a_ND, previous_b_ND = self._previous or (None, None)
        with record_function("harness.validators"):
            validators = score_all(
                PairEmbeddings(z_a_ND, z_b_ND, previous_a_ND, previous_b_ND, seed=VALIDATOR_SEED)
            )
        with record_function("harness.retrieval"):
            sealed = self._scored(self.training.embeddings, self.training.detected)
        sealed_pooled = ""
        seconds = time.perf_counter() - started
        if not self.history:
            pooled_a_NF, pooled_b_NF = self.training.pooled
            pooled = (
                torch.nn.functional.normalize(pooled_a_NF, dim=1),
                torch.nn.functional.normalize(pooled_b_NF, dim=1),
            )
            sealed_pooled = self._scored(pooled, pooled)
            seconds += self._start_seconds
        return EpochRecord(
            epoch=self.training.epoch,
            objective=objective_value(self.config.study.objective, validators, sealed),
            losses=losses,
            validators=validators,
            sealed=sealed,
            sealed_pooled=sealed_pooled,
            seconds=seconds,
        )

    def _scored(self, scored: tuple[Tensor, Tensor], detected: tuple[Tensor, Tensor]) -> str:
        """The vault's sealed metrics; in ``open`` with the verdict on every query."""
        if self.config.study.scenario != "open":
            return self.vault.score(*scored)
        query_ND, gallery_ND = detected
        accepted_N = accepted_queries(
            self.training.recipe,
            query_ND,
            gallery_ND,
            self._clusters_of_query(),
            derive_seed(self.config.seed, "open set"),
        )
        return self.vault.score(*scored, accepted={"ab": accepted_N})

    def _clusters_of_query(self) -> int | None:
        """Clusters of the query domain: those in force, before that the number given, if any."""
        in_force = self.training.clusterings[0]
        if in_force:
            return len(in_force[0].proto_KD)
        given = str(self.config.params.get("K", self.config.params.get("clusters", "")))
        return int(given) if given.isdecimal() else None

    def _snapshot(self) -> Snapshot:
        weights = {
            name: tensor.detach().to("cpu", copy=True)
            for name, tensor in self.training.scored_encoder.state_dict().items()
        }
        z_a_ND, z_b_ND = (z_ND.cpu().numpy().copy() for z_ND in self.training.embeddings)
        return Snapshot(self.training.epoch, weights, z_a_ND, z_b_ND)


def pair_vault(index: DatasetIndex, study: StudyConfig, pair: Pair) -> LabelVault:
    """The labels of a pair after the class split, locked away."""
    subset_a, subset_b = domain_subset(index, study.scenario, study.scenario_seed, *pair)
    return LabelVault.of_pair(
        index,
        *pair,
        subset_a=subset_a,
        subset_b=subset_b,
        directions=("ab", "ba") if study.scenario == "close" else ("ab",),
    )


def objective_value(objective: str, validators: dict[str, float], sealed: str) -> float:
    """What the search maximises: a label-free score, or a metric of the vault for ``oracle``.

    A score whose direction is ``min`` is negated.
    """
    name, _, metric = objective.partition(":")
    if name == "oracle":
        return mean_over_directions(sealed, metric)
    value = validators[name]
    return value if get_validator(name).direction == "max" else -value
