"""Every example of docs/extending.md is executed, and what it adds can be used."""

import re
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from harness.datasets.registry import DATASETS, dataset_spec
from harness.evaluation.chance import chance_metrics
from harness.evaluation.metrics import METRICS
from harness.evaluation.retrieval import retrieval_metrics
from harness.leaderboard.schema import metric_names, trial_schema
from harness.methods.registry import METHODS
from harness.validators import VALIDATORS, PairEmbeddings, score_all
from losses.contract import LOSSES

DOC = Path(__file__).parents[1] / "docs" / "extending.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def _executed():
    """All examples, in order, as one reads them; forgotten afterwards."""
    with ExitStack() as kept:
        for registry in (LOSSES, METHODS, DATASETS, VALIDATORS, METRICS):
            kept.enter_context(registry.restored_afterwards())
        for number, example in enumerate(EXAMPLES):
            names = {"__name__": f"extending_{number}"}
            example = example.replace("mean_gap", "shown_gap")  # other tests load that one
            exec(compile(example, f"{DOC.name} example {number}", "exec"), names)
        yield


def test_the_document_shows_all_five_and_the_checks():
    shown = {name for text in EXAMPLES for name in re.findall(r"\bregister_\w+", text)}
    kinds = ("loss", "method", "dataset", "validator", "metric")
    assert shown == {f"register_{kind}" for kind in kinds}
    assert "check_method" in EXAMPLES[-1]


def test_the_data_set_has_its_declaration():
    assert dataset_spec("mydata").domains == ("drawing", "photo")


def test_the_validator_scores():
    same = torch.nn.functional.normalize(torch.randn(20, 8), dim=1)
    scores = score_all(PairEmbeddings(same, same.clone()), ["mean_distance"])
    assert scores == {"mean_distance": 0.0}


def test_the_metric_is_in_the_figures_and_in_the_chance_row():
    query, gallery = torch.eye(3)[:2], torch.eye(3)
    found = retrieval_metrics(query, gallery, [0, 2], [0, 1, 2], (1,)).metrics
    # The first query finds its image first; the second ties with the others and finds it last.
    assert found["MRR"] == pytest.approx(100 * (1 + 1 / 3) / 2)
    expected = chance_metrics([0, 2], [0, 1, 2], (1,))
    assert expected["MRR"] == pytest.approx(100 * (1 + 1 / 2 + 1 / 3) / 3, rel=0.1)


def test_what_comes_from_outside_adds_no_column():
    assert "MRR" not in metric_names((1,))
    assert "validator.mean_distance" not in trial_schema((1,)).names
