"""The training loop: one method, one pair of domains, one epoch at a time.

Shapes: B batch per domain, N images of a domain, D embedding size, S steps of an epoch.
Every draw of an epoch is a function of (trial seed, epoch, step): a training that is loaded from a
checkpoint goes on exactly as one that never stopped.
"""

import copy
import inspect
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.profiler import record_function

from harness.datasets.frame_store import DomainFrames
from harness.methods.recipe import LossTerm, Recipe, Stage, StagePosition, stage_positions
from harness.seeds import derive_seed, generator
from harness.training.batches import batch_size_for, epoch_batches
from harness.training.clusterings import (
    NO_CLUSTERINGS,
    ClusteringRule,
    PairClusterings,
    cluster_counts,
    create_clustering,
)
from harness.training.embedding import autocast, embed_domain
from harness.training.frame_feed import FrameFeed
from harness.training.loss_means import LossMeans
from harness.training.memory_bank import follow, overwrite
from harness.training.optimiser import build_optimiser, set_learning_rate
from harness.training.readouts import PairFeatures, read_out
from harness.training.views import apply_views, draw_views
from losses import DomainView, Loss, StepContext, create_loss, loss_class
from models.encoder import Encoder
from models.momentum import MomentumTwin


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite; the trial ends as failed and is not tried again."""


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """What the loop needs beside the recipe.

    Attributes:
        epochs: over all stages.
        batch_size: wanted images per domain and step; cut to the smaller domain.
        image_size: side the network sees.
        precision: ``fp32`` or ``bf16``.
        seed: of the trial.
    """

    epochs: int
    batch_size: int
    image_size: int
    precision: str
    seed: int


class PairTraining:
    """State of one training.

    Attributes:
        epoch: completed epochs.
        embeddings: of both domains under the scored encoder after ``epoch`` epochs, as the
            recipe's readout gives them.
        detected: what an open-set detector compares; mostly the same.
        pooled: backbone features of both domains under the scored encoder, likewise.
        clusterings: those in force.
        encoder: the query encoder.
        batch_size: images per domain and step.
    """

    def __init__(
        self,
        recipe: Recipe,
        settings: LoopSettings,
        encoder: Encoder,
        frames_a: DomainFrames,
        frames_b: DomainFrames,
        device: torch.device,
    ) -> None:
        self.recipe = recipe
        self.settings = settings
        self.device = device
        self.frames = (frames_a, frames_b)
        self._feed = FrameFeed(self.frames, device)
        self.batch_size = batch_size_for(settings.batch_size, len(frames_a), len(frames_b))
        self.encoder = encoder.to(device)
        self.twin: MomentumTwin | None = None
        if recipe.momentum_encoder is not None:
            self.twin = MomentumTwin(
                self.encoder,
                momentum=recipe.momentum_encoder.momentum,
                num_splits=recipe.momentum_encoder.splits,
            )
        self.frozen: Encoder | None = None
        self.positions = stage_positions(recipe, settings.epochs)
        self.losses = self._create_losses()
        self.rules: list[ClusteringRule | None] = [
            None
            if stage.clustering is None
            else create_clustering(stage.clustering.rule, stage.clustering.arguments)
            for stage in recipe.stages
        ]
        self.optimiser = build_optimiser(
            recipe.optimiser, self.encoder.backbone, self.encoder.head, self.losses.values()
        )
        self.epoch = 0
        self.embeddings: tuple[Tensor, Tensor]
        self.pooled: tuple[Tensor, Tensor]
        self.clusterings: PairClusterings = NO_CLUSTERINGS
        self._embed()
        self.bank_a_ND = self.embeddings[0].clone()
        self.bank_b_ND = self.embeddings[1].clone()

    @property
    def finished(self) -> bool:
        """Whether every epoch is done."""
        return self.epoch >= self.settings.epochs

    @property
    def scored_encoder(self) -> Encoder:
        """The encoder whose embeddings are evaluated."""
        if self.recipe.scored == "momentum" and self.twin is not None:
            return self.twin.encoder
        return self.encoder

    def run_epoch(self) -> dict[str, float]:
        """Trains one epoch and embeds both domains anew; without stages, ends the training.

        Returns:
            Means over the epoch: each loss raw under its name, weighted under
            ``<name>.weighted``, what losses recorded, ``total``, and the numbers of clusters.

        Raises:
            NonFiniteLossError: a loss was NaN or infinite.
        """
        if not self.recipe.stages:
            self.epoch = self.settings.epochs
            return {}
        position = self._position()
        stage = self.recipe.stages[position.index]
        progress = position.progress(self.epoch)
        set_learning_rate(self.optimiser, self.recipe.optimiser, self.epoch, self.settings.epochs)
        with record_function("harness.clustering"):
            self._cluster(position, stage, progress)
        if self.epoch == position.first_epoch:
            self._begin_stage(position.index, stage)
        means = LossMeans()
        self.encoder.train()
        index_a_SB, index_b_SB = self._batches()
        for step in range(len(index_a_SB)):
            self._step(
                position.index, stage, progress, index_a_SB[step], index_b_SB[step], step, means
            )
        self.epoch += 1
        values = {**means.means(), **cluster_counts(self.clusterings)}
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            raise NonFiniteLossError(
                f"the loss is not finite in epoch {self.epoch} ({', '.join(bad)})"
            )
        self._embed()
        sums = torch.stack([z_ND.sum() for z_ND in (*self.embeddings, *self.pooled)])
        if not math.isfinite(sums.sum().item()):
            raise NonFiniteLossError(f"the embeddings are not finite after epoch {self.epoch}")
        return values

    def state_dict(self) -> dict[str, Any]:
        """Everything a later process needs to go on; tensors and plain values only."""
        return {
            "epoch": self.epoch,
            "encoder": self.encoder.state_dict(),
            "twin": None if self.twin is None else self.twin.state_dict(),
            "frozen": None if self.frozen is None else self.frozen.state_dict(),
            "losses": {key: loss.state_dict() for key, loss in self.losses.items()},
            "optimiser": self.optimiser.state_dict(),
            "banks": (self.bank_a_ND, self.bank_b_ND),
            "embeddings": self.embeddings,
            "clusterings": self.clusterings,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from :meth:`state_dict` of the same trial."""
        self.epoch = state["epoch"]
        self.encoder.load_state_dict(state["encoder"])
        if self.twin is not None:
            self.twin.load_state_dict(state["twin"])
        if state["frozen"] is not None:
            self.frozen = self._frozen_copy()
            self.frozen.load_state_dict(state["frozen"])
        for key, loss in self.losses.items():
            loss.load_state_dict(state["losses"][key])
        self.optimiser.load_state_dict(state["optimiser"])
        self.bank_a_ND, self.bank_b_ND = (bank.to(self.device) for bank in state["banks"])
        z_a_ND, z_b_ND = (z_ND.to(self.device) for z_ND in state["embeddings"])
        self.embeddings = (z_a_ND, z_b_ND)
        a, b = (
            tuple(clustering.to(self.device) for clustering in side)
            for side in state["clusterings"]
        )
        self.clusterings = (a, b)

    def _position(self) -> StagePosition:
        return next(
            position
            for position in self.positions
            if position.first_epoch <= self.epoch < position.first_epoch + position.epochs
        )

    def _create_losses(self) -> dict[str, Loss]:
        sizes = {
            "pooled_size": self.encoder.feature_size,
            "embedding_size": self.recipe.embedding_size,
        }
        losses: dict[str, Loss] = {}
        with torch.random.fork_rng(devices=[]):
            for stage_index, stage in enumerate(self.recipe.stages):
                for term in stage.terms:
                    key = _loss_key(stage_index, term)
                    torch.manual_seed(derive_seed(self.settings.seed, "loss", key))
                    losses[key] = _create(term, sizes).to(self.device)
        return losses

    def _embed(self) -> None:
        with record_function("harness.embed"):
            results = [
                embed_domain(
                    self.scored_encoder.embed,
                    frames,
                    self.settings.image_size,
                    self.device,
                    self.settings.precision,
                )
                for frames in self.frames
            ]
        self.pooled = (results[0][1], results[1][1])
        features = PairFeatures((results[0][0], results[1][0]), self.pooled)
        readout = self.recipe.readout
        self.embeddings = read_out(readout.rule, features, readout.arguments)
        self.detected = self.embeddings
        if readout.detector_rule is not None:
            self.detected = read_out(readout.detector_rule, features, {})

    def _cluster(self, position: StagePosition, stage: Stage, progress: float) -> None:
        plan, rule = stage.clustering, self.rules[position.index]
        if plan is None or rule is None or progress < plan.start:
            self.clusterings = NO_CLUSTERINGS
            return
        sources = {"features": self.embeddings, "bank": (self.bank_a_ND, self.bank_b_ND)}
        a_ND, b_ND = sources[plan.source]
        generators = (
            generator(self.settings.seed, "clustering", self.epoch, "a"),
            generator(self.settings.seed, "clustering", self.epoch, "b"),
        )
        self.clusterings = rule.per_epoch(a_ND, b_ND, generators, self.clusterings)

    def _begin_stage(self, index: int, stage: Stage) -> None:
        if stage.freeze_copy:
            self.frozen = self._frozen_copy()
        for term in stage.terms:
            self.losses[_loss_key(index, term)].begin_stage(
                self.clusterings[0], self.clusterings[1], self.bank_a_ND, self.bank_b_ND
            )

    def _frozen_copy(self) -> Encoder:
        return copy.deepcopy(self.encoder).eval().requires_grad_(False)

    def _batches(self) -> tuple[Tensor, Tensor]:
        n_a, n_b = len(self.frames[0]), len(self.frames[1])
        n_max = max(n_a, n_b)
        return (
            epoch_batches(
                n_a, n_max, self.batch_size, generator(self.settings.seed, "a", self.epoch)
            ),
            epoch_batches(
                n_b, n_max, self.batch_size, generator(self.settings.seed, "b", self.epoch)
            ),
        )

    def _step(
        self,
        stage_index: int,
        stage: Stage,
        progress: float,
        index_a_B: Tensor,
        index_b_B: Tensor,
        step: int,
        means: LossMeans,
    ) -> None:
        draws = generator(self.settings.seed, "step", self.epoch, step)
        with record_function("harness.views"):
            query_view, key_view = self._views(index_a_B, index_b_B, draws)
        index_a_B = index_a_B.to(self.device, non_blocking=True)
        index_b_B = index_b_B.to(self.device, non_blocking=True)
        key_2BD: Tensor | None = None
        if self.twin is not None and key_view is not None:
            with record_function("harness.key_encoder"):
                self.twin.update(self.encoder)
                permutation = torch.randperm(len(key_view), generator=draws)
                with autocast(self.device, self.settings.precision):
                    key_2BD = self.twin(key_view, permutation)
            if self.recipe.bank.rule == "overwrite":
                overwrite(self.bank_a_ND, index_a_B, key_2BD[: self.batch_size])
                overwrite(self.bank_b_ND, index_b_B, key_2BD[self.batch_size :])
        with record_function("harness.query_forward"):
            with autocast(self.device, self.settings.precision):
                z_2BD, pooled_2BF = self.encoder(query_view)
            frozen_2BD = self._frozen_embedding(query_view)
        with record_function("harness.losses"):
            if self.clusterings[0]:
                rule = self.rules[stage_index]
                assert rule is not None
                self.clusterings = rule.per_step(self.clusterings, self.bank_a_ND, self.bank_b_ND)
            views = [
                DomainView(
                    z_BD=z_2BD[half],
                    pooled_BF=pooled_2BF[half],
                    key_BD=None if key_2BD is None else key_2BD[half],
                    frozen_BD=None if frozen_2BD is None else frozen_2BD[half],
                    index_B=index_B,
                    bank_ND=bank_ND,
                    clusterings=clusterings,
                )
                for half, index_B, bank_ND, clusterings in (
                    (slice(None, self.batch_size), index_a_B, self.bank_a_ND, self.clusterings[0]),
                    (slice(self.batch_size, None), index_b_B, self.bank_b_ND, self.clusterings[1]),
                )
            ]
            context = StepContext(
                epoch=self.epoch,
                progress=progress,
                stage=stage.name,
                generator=draws,
                record=means.add,
            )
            total = self._total_loss(stage_index, stage, views[0], views[1], context, means)
        with record_function("harness.backward"):
            self.optimiser.zero_grad(set_to_none=True)
            total.backward()
            self.optimiser.step()
        if self.recipe.bank.rule == "ema":
            z_2BD = z_2BD.detach().float()
            follow(self.bank_a_ND, index_a_B, z_2BD[: self.batch_size], self.recipe.bank)
            follow(self.bank_b_ND, index_b_B, z_2BD[self.batch_size :], self.recipe.bank)

    def _views(
        self, index_a_B: Tensor, index_b_B: Tensor, draws: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        frames_2B3FF = self._feed(index_a_B, index_b_B)
        size_2B2 = torch.cat([self.frames[0].size_N2[index_a_B], self.frames[1].size_N2[index_b_B]])
        image_size = self.settings.image_size

        def view() -> Tensor:
            drawn = draw_views(self.recipe.views, size_2B2, image_size, draws)
            return apply_views(frames_2B3FF, drawn, image_size)

        return view(), None if self.twin is None else view()

    def _frozen_embedding(self, view: Tensor) -> Tensor | None:
        if self.frozen is None:
            return None
        with torch.no_grad(), autocast(self.device, self.settings.precision):
            return self.frozen(view)[0]

    def _total_loss(
        self,
        stage_index: int,
        stage: Stage,
        a: DomainView,
        b: DomainView,
        context: StepContext,
        means: LossMeans,
    ) -> Tensor:
        total = torch.zeros((), device=self.device)
        for term in stage.terms:
            weight = term.weight * term.ramp(context.progress)
            if weight == 0.0:
                continue
            value = self.losses[_loss_key(stage_index, term)](a, b, context)
            weighted = weight * value
            means.add(term.key, value)
            means.add(f"{term.key}.weighted", weighted)
            total = total + weighted
        means.add("total", total)
        return total


def _loss_key(stage_index: int, term: LossTerm) -> str:
    return f"{stage_index}/{term.key}"


def _create(term: LossTerm, sizes: dict[str, int]) -> Loss:
    """Builds a term's loss; sizes that it asks for by name are supplied by the loop."""
    accepted = inspect.signature(loss_class(term.loss)).parameters
    supplied = {name: size for name, size in sizes.items() if name in accepted}
    return create_loss(term.loss, **{**supplied, **term.arguments})
