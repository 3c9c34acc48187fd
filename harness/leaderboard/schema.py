"""The Arrow schemas of the Parquet files.

Every file of one kind under one data set has the identical schema, columns without a value
included: pandas silently drops columns that the first file of a folder lacks, and raises where two
files disagree on a type.
"""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import pandas as pd
import pyarrow as pa

from harness.evaluation.metrics import METRICS
from harness.methods import PairShape, get_method
from harness.methods.registry import METHODS
from harness.training.clusterings import CLUSTER_COUNTS
from harness.validators import VALIDATORS
from losses import loss_class

SCHEMA_VERSION = 2

SHARED_PARAMETERS = ("K", "tau", "lambda_dd", "lambda_se")
"""Parameters with a column of their own name; every other one stands under ``param.<name>``."""

OPEN_METRICS = (
    "open_acc",
    "shared_acceptance",
    "open_balanced_acc",
    "mAP@All.shared",
    "mAP@All.shared_rejecting",
)

ARROW_TYPES = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}
_PANDAS = {
    pa.int64(): "Int64",
    pa.bool_(): "boolean",
    pa.timestamp("us", tz="UTC"): "datetime64[us, UTC]",
}


def metric_names(ks: Sequence[int]) -> tuple[str, ...]:
    """All metrics of a data set, in the order of the columns; percent but ``n_valid_queries``."""
    return (
        *(f"P@{k}" for k in ks),
        *METRICS.built_in(),
        *(f"P@{k}.query_mean" for k in ks),
        "n_valid_queries",
        *OPEN_METRICS,
    )


@cache
def parameter_columns() -> dict[str, pa.DataType]:
    """Column and type of every parameter of every built-in method.

    A method from outside has its parameters in ``params`` alone, so that a folder has one schema
    whoever reads or writes it.

    Raises:
        ValueError: two methods give one parameter name different types.
    """
    types: dict[str, type] = {}
    for name in sorted(METHODS.built_in()):
        for parameter, kind in get_method(name).parameter_types().items():
            if types.setdefault(parameter, kind) is not kind:
                raise ValueError(f"the parameter '{parameter}' has two types")
    columns = {name: ARROW_TYPES[types.get(name, float)] for name in SHARED_PARAMETERS}
    for parameter in sorted(set(types) - set(SHARED_PARAMETERS)):
        columns[f"param.{parameter}"] = ARROW_TYPES[types[parameter]]
    return columns


def parameter_column(name: str) -> str:
    """The column of a parameter."""
    return name if name in SHARED_PARAMETERS else f"param.{name}"


@cache
def loss_columns() -> tuple[str, ...]:
    """``loss.<name>`` of every term of every built-in method, raw and weighted, and extras."""
    names: set[str] = set()
    for name in METHODS.built_in():
        method = get_method(name)
        if not method.trains:
            continue
        recipe = method.build(method.resolve("paper", "", {}), PairShape(1000, 1000, 64))
        for stage in recipe.stages:
            for term in stage.terms:
                names |= {term.key, f"{term.key}.weighted", *loss_class(term.loss).recorded}
    return tuple(f"loss.{name}" for name in ("total", *CLUSTER_COUNTS, *sorted(names)))


@cache
def figure_columns() -> dict[str, None]:
    """The columns of losses and validators, in order; other ones stand in ``other_figures``."""
    validators = (f"validator.{name}" for name in sorted(VALIDATORS.built_in()))
    return dict.fromkeys([*validators, *loss_columns()])


def _texts(*names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, pa.string()) for name in names]


def _wholes(*names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, pa.int64()) for name in names]


def _reals(names: Iterable[str]) -> list[tuple[str, pa.DataType]]:
    return [(name, pa.float64()) for name in names]


def trial_schema(ks: Sequence[int]) -> pa.Schema:
    """Schema of a trial's file: one row per epoch and direction."""
    return with_pandas_types(
        [
            *_texts("trial_id", "study_id", "status", "method", "scenario", "query", "gallery"),
            *_wholes("epoch"),
            *parameter_columns().items(),
            *_texts("params"),
            *_wholes("seed", "number"),
            *_reals(metric_names(ks)),
            *_reals(f"pooled.{name}" for name in metric_names(ks)),
            *_reals(["objective_value"]),
            *_reals(f"validator.{name}" for name in sorted(VALIDATORS.built_in())),
            *_reals(loss_columns()),
            *_texts("other_figures"),
            *_reals(["seconds"]),
            *_wholes("attempts", "batch_size", "epochs", "image_size"),
            *_texts("backbone", "weights", "preset", "objective", "precision", "notes"),
            *_texts("host", "device", "error_type", "error_last_line", "error_frame"),
            *_texts("error_trace", "dataset", "fingerprint", "config_json"),
            *_wholes("schema_version"),
            *_texts("versions", "git_commit", "command_line"),
        ]
    )


def board_schema(ks: Sequence[int]) -> pa.Schema:
    """Schema of a leaderboard file: one row per study and protocol, chance and floor rows."""
    return with_pandas_types(
        [
            *_wholes("rank"),
            *_texts("kind", "method", "protocol", "scenario", "query", "gallery"),
            *_texts("backbone", "weights", "preset"),
            *_wholes("image_size", "epochs", "batch_size"),
            *_texts("precision", "half_classes"),
            *_wholes("scenario_seed"),
            *parameter_columns().items(),
            *_texts("params"),
            *_wholes("epoch"),
            *_reals(metric_names(ks)),
            *_reals(f"{name}.std" for name in metric_names(ks)),
            *_reals(["oracle_gap"]),
            *_texts("transfer_from"),
            *_wholes("n_seeds"),
            ("confirmed", pa.bool_()),
            *_texts("objective"),
            *_reals(["objective_value"]),
            *_texts("sampler", "k_mode", "trial_id", "study_id"),
            *_wholes("seed", "trials_finished"),
            *_reals(["seconds"]),
            *_texts("dataset", "fingerprint", "warnings", "notes", "config_json"),
            *_wholes("schema_version"),
            *_texts("versions", "git_commit", "command_line", "host", "device"),
        ]
    )


def with_pandas_types(columns: list[tuple[str, pa.DataType]]) -> pa.Schema:
    """A schema that pandas reads with whole numbers as ``Int64`` and truth values as ``boolean``,
    gaps or none.
    """
    return _schema_of(tuple(columns))


@cache
def _schema_of(columns: tuple[tuple[str, pa.DataType], ...]) -> pa.Schema:
    """Adds the metadata by which pandas reads whole numbers with gaps as ``Int64``."""
    schema = pa.schema(columns)
    empty = pd.DataFrame(
        {
            name: pd.Series(dtype=_PANDAS.get(kind, "float64" if kind == pa.float64() else "str"))
            for name, kind in columns
        }
    )
    metadata: Any = pa.Table.from_pandas(empty, preserve_index=False).schema.metadata
    described = json.loads(metadata[b"pandas"])
    # Numbers and texts need no word, and every file carries what is said here.
    described["columns"] = [
        column
        for column in described["columns"]
        if column["numpy_type"] not in ("float64", "str", "object")
    ]
    return schema.with_metadata({b"pandas": json.dumps(described).encode()})
