"""``harness.train --replay``: trains the trial of a row once more and compares every figure.

A replay is no trial of the search: it writes nothing into the results.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console

from harness.command_line import DONE, TRIAL_FAILED
from harness.commands.progress import show_settings
from harness.config import StudyConfig, TrialConfig, trial_from_json
from harness.datasets.registry import dataset_names, dataset_spec, open_dataset
from harness.errors import UsageError
from harness.leaderboard.schema import trial_schema
from harness.leaderboard.store import KINDS
from harness.leaderboard.trial_file import record_from_rows, trial_rows
from harness.methods import PairShape, get_method, method_names
from harness.options import TrainOptions
from harness.plan.studies import decoded, default_cache_dir
from harness.plugins import PluginFile, load_plugins, method_digest
from harness.records import EpochRecord, TrialRecord, ends
from harness.search.book import opened
from harness.training.run_trial import run_trial
from harness.training.scored_trial import TrialData
from models.weights import file_digest, timm_weight_file

ROW_DECIDES = (
    "pairs",
    "method",
    "scenario",
    "scenario_seed",
    "backbone",
    "image_size",
    "batch_size",
    "epochs",
    "objective",
    "set",
    "seed",
    "cpus_per_trial",
)
"""Flags that a replay refuses, because the row has their values."""


@dataclass(frozen=True)
class Difference:
    """A figure that is not the stored one.

    Attributes:
        name: of the figure, such as ``loss.total`` or ``P@1 A → B``.
        then: as stored; None where the file has none.
        now: as replayed, likewise.
    """

    name: str
    then: float | None
    now: float | None

    def __str__(self) -> str:
        shown = ["absent" if v is None else repr(v) for v in (self.then, self.now)]
        return f"{self.name} {shown[0]} then, {shown[1]} now"


@dataclass
class Replay:
    """What a replay found, as it grows.

    Attributes:
        stored: the trial of the file.
        differences: by epoch; an epoch that is as stored has an empty list.
        figures: number of figures compared so far.
        now: the replayed trial.
    """

    stored: TrialRecord
    differences: dict[int, list[Difference]] = field(default_factory=dict)
    figures: int = 0
    now: TrialRecord | None = None

    @property
    def first_difference(self) -> int | None:
        """The first epoch that differs; None if none does."""
        return next((epoch for epoch, found in sorted(self.differences.items()) if found), None)

    @property
    def ended_alike(self) -> bool:
        """Whether the replay failed as the trial did, or neither failed."""
        failed_now = self.now is not None and self.now.status == "failed"
        then = self.stored.error_type if self.stored.status == "failed" else None
        return then == (self.now.error_type if self.now and failed_now else None)

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return self.first_difference is None and self.ended_alike


def run_replay_command(trial_id: str, options: TrainOptions, console: Console) -> int:
    """Replays a trial and shows epoch by epoch whether it is the stored one.

    Returns:
        Exit code: 0 if every figure is the stored one, 1 if one differs.

    Raises:
        UsageError: no such trial, other images, a flag that the row decides, no such device.
    """
    _refuse_flags(options)
    load_plugins(options.loss_module)
    path = find_trial_file(options.out, trial_id)
    rows = pq.ParquetFile(path).read().to_pylist()
    config = trial_from_json(rows[0]["config_json"])
    source = _source_name(config, options.dataset)
    stored = record_from_rows(rows, dataset_spec(source).ks)
    config = stored.config = _checked(config, options)
    with console.status("Reading the data set") as status:
        data = _open_data(config, source, options, status.update)
    study = config.study
    console.print(
        f"Replay of {trial_id}  {show_settings(config.params, config.searched)}\n"
        f"From the row: {study.device_type}, {study.precision}, "
        f"{study.threads} thread{'s' if study.threads > 1 else ''}.",
        soft_wrap=True,
        markup=False,
    )
    replay = Replay(stored)

    def show(epoch: int) -> None:
        differences = replay.differences[epoch]
        line = f"epoch {epoch:>3}/{study.epochs}  "
        line += "as stored" if not differences else f"differs: {_named(differences)}"
        console.print(line, soft_wrap=True, markup=False)

    train_again(replay, data, show)
    for sentence in verdict(replay):
        console.print(sentence, soft_wrap=True, markup=False)
    return DONE if replay.identical else TRIAL_FAILED


def find_trial_file(out: Path, trial_id: str) -> Path:
    """The file of a trial, in whichever data set folder of ``out`` it is.

    Raises:
        UsageError: there is none.
    """
    paths = {
        path.stem: path for kind in KINDS for path in sorted(out.glob(f"*/{kind}/*/*.parquet"))
    }
    if trial_id in paths:
        return paths[trial_id]
    if not paths:
        raise UsageError(f"There are no trials under {out}; name the folder of results by --out.")
    near = get_close_matches(trial_id, paths, n=1, cutoff=0.6)
    hint = f"Did you mean '{near[0]}'?" if near else "The column trial_id of a row has it."
    raise UsageError(f"There is no trial '{trial_id}' under {out}. {hint}")


def train_again(
    replay: Replay, data: TrialData, on_epoch: Callable[[int], None] = lambda epoch: None
) -> None:
    """Trains as far as the stored trial came.

    Args:
        replay: of the stored trial; filled in on the way.
        data: the images that the trial saw.
        on_epoch: called with each epoch after it was compared.
    """
    stored = replay.stored
    # One step further where the trial failed: the failure is to come again.
    wanted = max(stored.epochs, default=-1) + 1 + (stored.status == "failed")

    def compare(record: TrialRecord) -> bool:
        epoch = max(record.epochs)
        then = stored.epochs.get(epoch)
        if then is not None:
            now = as_stored(stored.config, opened(record.epochs[epoch]), data.index.spec.ks)
            count, differences = compare_reports(stored.config, then, now)
            replay.figures += count
            replay.differences[epoch] = differences
            on_epoch(epoch)
        return len(record.epochs) >= wanted

    replay.now = run_trial(stored.config, data, compare)


def as_stored(config: TrialConfig, report: EpochRecord, ks: Sequence[int]) -> EpochRecord:
    """A report as it reads after a journey through a trial's file."""
    record = TrialRecord(config=config, epochs={report.epoch: report})
    table = pa.Table.from_pylist(trial_rows(record), schema=trial_schema(ks))
    return record_from_rows(table.to_pylist(), ks).epochs[report.epoch]


def compare_reports(
    config: TrialConfig, then: EpochRecord, now: EpochRecord
) -> tuple[int, list[Difference]]:
    """Compares every figure of two reports of one epoch, exactly.

    Returns:
        The number of figures, and those that differ.
    """
    left, right = _figures(config, then), _figures(config, now)
    names = dict.fromkeys([*left, *right])
    differences = [
        Difference(name, left.get(name), right.get(name))
        for name in names
        if not _equal(left.get(name), right.get(name))
    ]
    return len(names), differences


def verdict(replay: Replay) -> list[str]:
    """The outcome in sentences: identical, or where it differs and what else differs."""
    stored, first = replay.stored, replay.first_difference
    said = []
    if replay.identical:
        said.append(
            f"Identical: {len(replay.differences)} epochs, {replay.figures} figures of the "
            "objective, losses, validators and metrics."
        )
    elif first is not None:
        said.append(f"Epoch {first} is the first that differs.")
    if not replay.ended_alike or stored.status == "failed":
        then, now = (_error(record) for record in (stored, replay.now))
        said.append(f"Failure then: {then}. Failure now: {now}.")
    if not replay.identical:
        said += environment_differences(replay)
    return said


def environment_differences(replay: Replay) -> list[str]:
    """Which machine, device and versions are not those of the stored trial.

    Precision, threads and kind of device are forced from the row and never differ.
    """
    stored, again = replay.stored, replay.now
    if again is None or not again.host:
        return []
    then, now = _versions(stored.versions), _versions(again.versions)
    changed = [("host", stored.host, again.host), ("device", stored.device, again.device)]
    changed += [
        (name, then.get(name, "absent"), now.get(name, "absent"))
        for name in sorted({*then, *now})
        if then
    ]
    said = [f"{name} {old} then, {new} now" for name, old, new in changed if old != new]
    if not then:
        said.append("the file does not say which versions it was made with")
    if said:
        return [f"What differs beside the numbers: {'; '.join(said)}."]
    return ["Host, device and versions are those of the row."]


def _refuse_flags(options: TrainOptions) -> None:
    default = TrainOptions()
    for name in ROW_DECIDES:
        if getattr(options, name) != getattr(default, name):
            raise UsageError(
                f"--{name.replace('_', '-')} cannot go with --replay: the row has its value."
            )


def _source_name(config: TrialConfig, given: str) -> str:
    """The name by which the data set of a trial is opened."""
    stored, folder = config.study.dataset, "folder"
    source = stored if stored in dataset_names() and given != folder else folder
    if given not in (source, TrainOptions().dataset):
        raise UsageError(
            f"The trial {config.trial_id} belongs to the data set '{stored}', not to '{given}'; "
            "leave --dataset away."
        )
    return source


def _checked(config: TrialConfig, options: TrainOptions) -> TrialConfig:
    """The configuration with the weight file where it is now; refuses another file."""
    study = config.study
    if study.device_type == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"The trial {config.trial_id} was trained on a GPU and this machine has none."
        )
    if options.weights is not None:
        if Path(options.weights).name != study.weights_name:
            raise UsageError(
                f"The trial {config.trial_id} began from the weights '{study.weights_name}', not "
                f"from '{Path(options.weights).name}'."
            )
        study = replace(study, weights=options.weights)
    _refuse_other_weights(config.trial_id, study)
    return replace(config, study=study)


def _refuse_other_code(config: TrialConfig, plugin: PluginFile | None) -> None:
    if config.study.method_digest and config.study.method not in method_names():
        raise UsageError(
            f"The method '{config.study.method}' of the trial {config.trial_id} came from a file "
            "or a package of yours; name the file by --loss-module FILE, or install the package."
        )
    method = get_method(config.study.method)
    recipe = method.build(config.params, PairShape(10_000, 10_000, 64))
    stored = config.study.method_digest
    known = {"", method_digest(method, recipe, plugin)}
    if config.study.legacy_id and plugin is not None:
        known.add(plugin.digest)
    if stored not in known:
        raise UsageError(
            f"The method '{method.name}' of the trial {config.trial_id} was trained with another "
            "version of its source; bring that one back (the row's git_commit names it), or name "
            "its file by --loss-module FILE."
        )


def _refuse_other_weights(trial_id: str, study: StudyConfig) -> None:
    if study.weights == "random":
        return
    timm = study.weights == "timm"
    path = timm_weight_file(study.backbone) if timm else Path(study.weights)
    if not path.is_file():
        raise UsageError(f"The weight file {path} is not there; name it by --weights FILE.")
    if file_digest(path) != study.weights_digest:
        raise UsageError(
            f"The weight file {path} is not the one that the trial {trial_id} began from; name "
            "that one by --weights FILE."
        )


def _open_data(
    config: TrialConfig, source: str, options: TrainOptions, progress: Callable[[str], None]
) -> TrialData:
    study = config.study
    plugin = load_plugins(options.loss_module)
    _refuse_other_code(config, plugin)
    cache_dir = options.cache_dir or default_cache_dir()
    skip = options.skip_unreadable
    index = open_dataset(source, options.data_root, cache_dir, skip_unreadable=skip)
    if not skip:
        _refuse_other_images(config, index.fingerprint, index.root)
    index = decoded(options, index, [config.pair], study.image_size, cache_dir, progress)
    _refuse_other_images(config, index.fingerprint, index.root)
    return TrialData(index, cache_dir, plugin)


def _refuse_other_images(config: TrialConfig, fingerprint: str, root: Path) -> None:
    stored = config.study.fingerprint
    if fingerprint != stored:
        raise UsageError(
            f"The images under {root} are not those of the trial {config.trial_id} (fingerprint "
            f"{fingerprint[:12]}, the trial has {stored[:12]}); bring them back, or name their "
            "folder by --data-root."
        )


def _figures(config: TrialConfig, report: EpochRecord) -> dict[str, float]:
    figures = {"objective": report.objective}
    figures |= {f"loss.{name}": value for name, value in report.losses.items()}
    figures |= {f"validator.{name}": value for name, value in report.validators.items()}
    for prefix, by_direction in (("", report.metrics), ("pooled.", report.pooled_metrics)):
        for direction, metrics in by_direction.items():
            way = " → ".join(ends(config.pair, direction))
            figures |= {f"{prefix}{name} {way}": value for name, value in metrics.items()}
    return figures


def _equal(left: float | None, right: float | None) -> bool:
    if left is None or right is None:
        return left is right
    return left == right or (math.isnan(left) and math.isnan(right))


def _named(differences: Sequence[Difference]) -> str:
    more = len(differences) - 1
    return f"{differences[0]}" + (f" (and {more} more)" if more else "")


def _error(record: TrialRecord | None) -> str:
    if record is None or not record.error_type:
        return "none"
    return f"{record.error_type}: {record.error_last_line}"


def _versions(text: str) -> Mapping[str, str]:
    return json.loads(text) if text else {}
