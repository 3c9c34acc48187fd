"""Labels decide nothing that does not say so: a whole search with all labels permuted.

Proposals, stops, the ``last`` and ``label_free`` picks and the weights are bit-identical; only
metrics and the rows that read labels may change (design: Labels).
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from command_runs import write_tree

from harness.config import TuneOptions
from harness.leaderboard.protocols import picks
from harness.search.driver import SearchDriver
from harness.search.samplers import describe_sampler
from harness.search.studies import prepare_studies
from harness.training.scored_trial import ScoredTrial


def permuted(index, seed: int):
    """The data set with the labels of all images of all domains permuted."""
    pool = np.concatenate([domain.class_id_N for domain in index.domains])
    pool = np.random.default_rng(seed).permutation(pool)
    ends = np.cumsum([len(domain) for domain in index.domains])[:-1]
    domains = tuple(
        dataclasses.replace(domain, class_id_N=part)
        for domain, part in zip(index.domains, np.split(pool, ends), strict=True)
    )
    return dataclasses.replace(index, domains=domains)


def search(root: Path, folder: Path, out: str, seed: int | None):
    """A search without Ray: one trial after another in this process."""
    prepared = prepare_studies(
        TuneOptions(
            dataset="folder",
            data_root=root,
            pairs="Art-Photo",
            cache_dir=folder / "cache",
            out=folder / out,
            image_size=32,
            batch_size=8,
            epochs=6,
        ),
        trials=7,
        sampler=describe_sampler("tpe"),
    )
    index = prepared.data.index if seed is None else permuted(prepared.data.index, seed)
    data = dataclasses.replace(prepared.data, index=index)
    prepared.store.open_for_writing(index)
    driver = SearchDriver(
        prepared.plans, prepared.pairs, index, prepared.store, prepared.storage, prepared.context
    )
    weights, configs = {}, []
    while (config := driver.next_trial()) is not None:
        configs.append(config)
        trial = ScoredTrial(config, data, torch.device("cpu"))
        while not trial.done:
            report = trial.next_report()
            if driver.report(config.trial_id, [report], trial.about()):
                break
        weights[config.trial_id] = trial.keeper.held["last"].weights
        driver.end(config.trial_id)
    driver.finish()
    prepared.store.close()
    records = [driver.searches[0].records[config.pair][config.number] for config in configs]
    return configs, records, weights


def test_permuting_all_labels_changes_nothing_but_metrics_and_rows_that_read_them(tmp_path):
    root = write_tree(tmp_path / "colours", per_class=6)
    configs, records, weights = search(root, tmp_path, "true", None)
    other_configs, other_records, other_weights = search(root, tmp_path, "permuted", 1)

    assert other_configs == configs
    stops = [(r.status, sorted(r.epochs)) for r in records]
    assert [(r.status, sorted(r.epochs)) for r in other_records] == stops
    assert any(status == "pruned" for status, _ in stops)
    for name, held in weights.items():
        for key, tensor in held.items():
            assert torch.equal(tensor, other_weights[name][key]), (name, key)
    chosen, other = (
        {p.protocol: (p.trial.config.number, p.epoch.epoch) for p in picks(held, "P@1")}
        for held in (records, other_records)
    )
    for protocol in ("last", "label_free:mutual_nn"):
        assert chosen[protocol] == other[protocol]
    for record, permuted_record in zip(records, other_records, strict=True):
        for epoch, report in record.epochs.items():
            twin = permuted_record.epochs[epoch]
            assert (report.losses, report.objective) == (twin.losses, twin.objective) or (
                report.objective != report.objective
            )
    assert any(
        record.epochs[1].metrics != other.epochs[1].metrics
        for record, other in zip(records, other_records, strict=True)
    )
