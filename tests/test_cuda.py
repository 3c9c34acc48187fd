"""What a GPU does differently from a CPU; skipped where there is none."""

import math

import pytest
import torch
from miniature_pair import IMAGE_SIZE, train_pair, write_pair

import harness.training.frame_feed as frame_feed
from harness.methods import get_method, method_names
from harness.training.checkpoint import load_checkpoint, save_checkpoint
from harness.training.frame_feed import FrameFeed
from harness.training.kmeans import kmeans
from harness.training.loss_means import LossMeans
from harness.training.views import ViewRecipe, apply_views, draw_views, evaluation_view, frame_size
from harness.validators import PairEmbeddings, score_all

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

CUDA = torch.device("cuda")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_pair(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def strict_syncs(monkeypatch):
    """A hook: from an epoch's first forward pass to its last step any wait for the GPU raises."""
    means = LossMeans.means

    def relax(sums):
        torch.cuda.set_sync_debug_mode("default")
        return means(sums)

    monkeypatch.setattr(LossMeans, "means", relax)

    def tighten(encoder, _):
        if encoder.training:
            torch.cuda.set_sync_debug_mode("error")

    yield tighten
    torch.cuda.set_sync_debug_mode("default")


def random_frames(count, generator):
    side = frame_size(IMAGE_SIZE)
    return torch.randint(256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


def test_views_are_those_of_the_cpu():
    draws = torch.Generator().manual_seed(0)
    frames = random_frames(40, draws)
    size_B2 = torch.randint(20, 90, (40, 2), generator=draws).float()
    drawn = draw_views(ViewRecipe(), size_B2, IMAGE_SIZE, draws)
    for view in (
        lambda held: apply_views(held, drawn, IMAGE_SIZE),
        lambda held: evaluation_view(held, size_B2, IMAGE_SIZE),
    ):
        torch.testing.assert_close(view(frames.to(CUDA)).cpu(), view(frames), rtol=0, atol=2e-2)


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["staged", "resident"])
def test_the_feed_gives_the_frames_of_the_indices(tiny, share, monkeypatch):
    monkeypatch.setattr(frame_feed, "RESIDENT_SHARE", share)
    training = train_pair("ucdir", *tiny, epochs=1)
    feed = FrameFeed(training.frames, CUDA)
    assert feed.resident == (share == 1.0)
    for shift in range(6):
        index_a_B, index_b_B = torch.tensor([3, 1, 1]) + shift, torch.tensor([0, 7, 2]) + shift
        wanted = [
            held.frames_N3FF[index_B]
            for held, index_B in zip(training.frames, (index_a_B, index_b_B), strict=True)
        ]
        assert torch.equal(feed(index_a_B, index_b_B).cpu(), torch.cat(wanted))


@pytest.mark.parametrize("name", method_names())
def test_a_method_trains_on_a_gpu_and_goes_on_from_a_checkpoint(name, tiny, tmp_path):
    whole = train_pair(name, *tiny, epochs=4, device=CUDA)
    reports = []
    while not whole.finished:
        reports.append(whole.run_epoch())
        if whole.epoch == 2:
            save_checkpoint(whole.state_dict(), tmp_path, "run", 2)
    assert all(math.isfinite(value) for report in reports for value in report.values())
    if not get_method(name).trains:
        return
    resumed = train_pair(name, *tiny, epochs=4, device=CUDA)
    resumed.load_state_dict(load_checkpoint(tmp_path))
    again = [resumed.run_epoch(), resumed.run_epoch()]
    for before, after in zip(reports[2:], again, strict=True):
        assert before == pytest.approx(after, rel=1e-2, abs=1e-2)
    for before, after in zip(whole.embeddings, resumed.embeddings, strict=True):
        assert (before * after).sum(1).mean() > 0.999


@pytest.mark.parametrize("name", [name for name in method_names() if get_method(name).trains])
def test_no_step_waits_for_the_gpu(name, tiny, strict_syncs):
    training = train_pair(name, *tiny, epochs=4, device=CUDA)
    training.encoder.register_forward_pre_hook(strict_syncs)
    while not training.finished:
        training.run_epoch()


def test_kmeans_finds_the_clusters_of_the_cpu():
    draws = torch.Generator().manual_seed(1)
    centre_KD = torch.randn(7, 16, generator=draws) * 4
    x_ND = centre_KD[torch.arange(350) % 7] + torch.randn(350, 16, generator=draws)
    found = [
        kmeans(held, 7, generator=torch.Generator().manual_seed(0))
        for held in (x_ND, x_ND.to(CUDA))
    ]
    assert torch.equal(found[0].assign_N, found[1].assign_N.cpu())
    assert found[0].inertia == pytest.approx(found[1].inertia, rel=1e-5)


def test_validators_agree_with_the_cpu():
    draws = torch.Generator().manual_seed(2)
    held = [torch.nn.functional.normalize(torch.randn(n, 16, generator=draws)) for n in (90, 70)]
    on_cpu = score_all(PairEmbeddings(*held, *held, seed=0))
    moved = [z_ND.to(CUDA) for z_ND in held]
    on_gpu = score_all(PairEmbeddings(*moved, *moved, seed=0))
    assert on_gpu == pytest.approx(on_cpu, rel=1e-3, abs=1e-3, nan_ok=True)
