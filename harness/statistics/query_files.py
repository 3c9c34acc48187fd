"""``queries/<trial_id>.parquet``: scores of single queries of a confirmed pick, over all seeds.

One row per fresh seed, rule of choosing the epoch, direction and query.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.datasets.contract import DatasetIndex
from harness.datasets.scenario import domain_subset
from harness.evaluation.query_scores import QueryScores, unseal_queries
from harness.leaderboard.store import write_table
from harness.records import TrialRecord, ends
from harness.selection.confirmed import EPOCH_RULES, epoch_by


def queries_schema(ks: Sequence[int]) -> pa.Schema:
    """Columns: ``trial_id`` of the pick, ``confirmation`` the trial id of the fresh seed,
    ``epoch_by`` (``last``, ``objective`` or ``labels``), ``n_relevant`` gallery images of the
    query's class (0: no score), ``AP`` and P@k in percent.
    """
    texts = ("trial_id", "confirmation", "study_id", "method", "query", "gallery", "epoch_by")
    return pa.schema(
        [
            *((name, pa.string()) for name in texts),
            ("epoch", pa.int64()),
            ("image", pa.string()),
            ("class", pa.string()),
            ("n_relevant", pa.int64()),
            ("AP", pa.float64()),
            *((f"P@{k}", pa.float64()) for k in ks),
        ]
    )


def queries_path(root: Path, trial_id: str) -> Path:
    """File of a pick in the results folder of its data set."""
    return root / "queries" / f"{trial_id}.parquet"


def write_queries(
    root: Path,
    index: DatasetIndex,
    record: TrialRecord,
    sealed: Mapping[int, str],
    first_metric: str,
) -> None:
    """Adds a finished confirmation to the file of its pick, in place of an earlier attempt's rows.

    Args:
        root: results folder of the data set.
        index: the data set as found.
        record: the confirmation.
        sealed: by epoch the sealed scores of its queries.
        first_metric: the data set's first P@k.
    """
    path = queries_path(root, record.config.confirms)
    schema = queries_schema(index.spec.ks)
    tables = []
    if path.exists():
        before = pq.ParquetFile(path).read()
        others = pc.not_equal(before["confirmation"], record.config.trial_id)
        tables.append(before.filter(others))
    opened = {epoch: unseal_queries(text) for epoch, text in sealed.items()}
    for rule in dict.fromkeys(EPOCH_RULES.values()):
        report = epoch_by(rule, record, first_metric)
        if report is None or report.epoch not in opened:
            continue
        for direction, scores in opened[report.epoch].items():
            columns = _columns(index, record, direction, scores)
            columns |= {"epoch_by": rule, "epoch": report.epoch}
            count = len(scores.ap_Q)
            arrays = [_array(columns[field.name], field.type, count) for field in schema]
            tables.append(pa.table(arrays, schema=schema))
    write_table(pa.concat_tables(tables), path)


def read_queries(root: Path, trial_id: str) -> pa.Table:
    """Scores of the queries of a confirmed pick.

    Raises:
        FileNotFoundError: the pick was not confirmed.
    """
    return pq.ParquetFile(queries_path(root, trial_id)).read()


def _columns(
    index: DatasetIndex, record: TrialRecord, direction: str, scores: QueryScores
) -> dict[str, Any]:
    config, study = record.config, record.config.study
    query, gallery = ends(config.pair, direction)
    subsets = domain_subset(index, study.scenario, study.scenario_seed, *config.pair)
    positions = subsets[0 if direction == "ab" else 1]
    paths = np.asarray(index.domain(query).paths, dtype=object)[positions]
    return {
        "trial_id": config.confirms,
        "confirmation": config.trial_id,
        "study_id": study.study_id,
        "method": study.method,
        "query": query,
        "gallery": gallery,
        "image": paths,
        "class": np.asarray(index.classes, dtype=object)[scores.class_Q],
        "n_relevant": scores.relevant_Q,
        "AP": scores.ap_Q,
        **{f"P@{k}": precision_Q for k, precision_Q in scores.precision_at_Q.items()},
    }


def _array(values: Any, kind: pa.DataType, count: int) -> pa.Array:
    if isinstance(values, np.ndarray):
        return pa.array(values, type=kind, from_pandas=True)
    return pa.repeat(pa.scalar(values, type=kind), count)
