"""The label vault: scores as the metrics do, hides them until they are unsealed."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.datasets.contract import DatasetIndex, DatasetSpec, DomainIndex, StudyDefaults
from harness.evaluation.retrieval import retrieval_metrics
from harness.evaluation.vault import LabelVault, unseal

KS = (1, 3)


def draw(n, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(classes, (n,), generator=generator)
    centre = torch.randn(classes, 8, generator=torch.Generator().manual_seed(99))
    return centre[label] + torch.randn(n, 8, generator=generator), label.numpy()


def index_of(label_a, label_b):
    def domain(name, label):
        names = tuple(f"{name}/{i}.png" for i in range(len(label)))
        return DomainIndex(name, names, names, label)

    defaults = StudyDefaults(
        backbone="b", weights="random", image_size=8, batch_size=4, epochs=1, trials=1
    )
    spec = DatasetSpec(name="d", ks=KS, primary_metric="P@1", defaults=defaults)
    classes = tuple("abcdef")
    domains = (domain("ink", label_a), domain("photo", label_b))
    return DatasetIndex("d", spec, Path("root"), classes, domains, "f")


def test_scores_both_directions():
    (z_a, label_a), (z_b, label_b) = draw(40, 4, 0), draw(30, 5, 1)
    scores = unseal(LabelVault(label_a, label_b, KS).score(z_a, z_b))
    assert list(scores) == ["ab", "ba"]
    assert scores["ab"] == retrieval_metrics(z_a, z_b, label_a, label_b, KS).metrics
    assert scores["ba"] == retrieval_metrics(z_b, z_a, label_b, label_a, KS).metrics


def test_built_from_a_data_set_and_the_positions_a_scenario_keeps():
    (z_a, label_a), (z_b, label_b) = draw(40, 4, 2), draw(30, 5, 3)
    kept = np.arange(3, 21)
    index = index_of(label_a, label_b)
    vault = LabelVault.of_pair(index, "ink", "photo", subset_a=kept, directions=("ab",))
    scores = unseal(vault.score(z_a[kept], z_b))
    assert list(scores) == ["ab"]
    assert scores["ab"] == retrieval_metrics(z_a[kept], z_b, label_a[kept], label_b, KS).metrics
    turned = LabelVault.of_pair(index, "ink", "photo", subset_b=kept, directions=("ba",))
    scores = unseal(turned.score(z_a, z_b[kept]))
    assert scores["ba"] == retrieval_metrics(z_b[kept], z_a, label_b[kept], label_a, KS).metrics
    with pytest.raises(ValueError, match="labels"):
        vault.score(z_a, z_b)


def test_sealed_scores_show_no_figure_and_survive_as_plain_text():
    (z_a, label_a), (z_b, label_b) = draw(40, 4, 4), draw(30, 5, 5)
    vault = LabelVault(label_a, label_b, KS)
    sealed = vault.score(z_a, z_b)
    figure = str(unseal(sealed)["ab"]["mAP@All"])
    for text in (sealed, repr(sealed), repr({"x": sealed}), repr(vault)):
        assert "mAP" not in text
        assert figure not in text
    travelled = json.loads(json.dumps({"sealed": sealed}))["sealed"]
    assert unseal(travelled) == unseal(sealed)
    assert unseal(pickle.loads(pickle.dumps(sealed))) == unseal(sealed)
    with pytest.raises(ValueError, match="base64"):
        unseal("P@1 = 12.0")


def test_a_direction_without_valid_queries_survives_sealing():
    z, label = draw(10, 2, 6)
    scores = unseal(LabelVault(label, label + 10, KS).score(z, z))
    assert np.isnan(scores["ab"]["mAP@All"])
    assert scores["ab"]["n_valid_queries"] == 0


def test_permuted_labels_keep_their_counts_and_lose_the_signal():
    (z_a, label_a), (z_b, label_b) = draw(200, 4, 7), draw(160, 4, 8)
    vault = LabelVault(label_a, label_b, KS)
    permuted = vault.permuted(5)
    true, moved = (unseal(v.score(z_a, z_b))["ab"] for v in (vault, permuted))
    assert true["mAP@All"] > 50
    assert moved["mAP@All"] == pytest.approx(unseal(permuted.chance())["ab"]["mAP@All"], abs=3)
    assert unseal(vault.permuted(5).score(z_a, z_b))["ab"] == moved
    assert unseal(vault.permuted(6).score(z_a, z_b))["ab"] != moved
    assert unseal(vault.score(z_a, z_b))["ab"] == true
    before, after = (
        np.bincount(np.concatenate([v._labels["a"], v._labels["b"]])) for v in (vault, permuted)
    )
    np.testing.assert_array_equal(before, after)


def test_verdicts_of_a_detector_add_the_open_set_metrics():
    (z_a, label_a), (z_b, label_b) = draw(40, 4, 9), draw(30, 2, 10)
    vault = LabelVault(label_a, label_b, KS, ("ab",))
    shared = torch.from_numpy(np.isin(label_a, label_b))
    scores = unseal(vault.score(z_a, z_b, accepted={"ab": shared}))["ab"]
    assert scores["open_acc"] == scores["shared_acceptance"] == 100.0
    assert scores["mAP@All.shared_rejecting"] == scores["mAP@All"]
    nobody = unseal(vault.score(z_a, z_b, accepted={"ab": torch.zeros(40, dtype=torch.bool)}))["ab"]
    assert nobody["mAP@All.shared_rejecting"] == 0.0
    assert nobody["open_balanced_acc"] == 50.0


def test_unknown_directions_are_refused():
    with pytest.raises(ValueError, match="directions"):
        LabelVault(np.zeros(2), np.zeros(2), KS, ("ac",))
