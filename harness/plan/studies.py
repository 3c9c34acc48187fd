"""From the flags to the studies: the data set, the pairs, one plan per method."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from optuna.distributions import distribution_to_json

from harness.config import Pair, ParameterValue, StudyConfig
from harness.datasets.contract import DatasetIndex
from harness.datasets.frame_store import prepare
from harness.datasets.registry import open_dataset
from harness.datasets.scenario import class_half, domain_subset, resolve_pairs
from harness.datasets.verify import Verification, verify
from harness.errors import UsageError, nearest
from harness.leaderboard.board import BoardContext
from harness.leaderboard.earlier_versions import CONTINUED, continued
from harness.leaderboard.schema import OPEN_METRICS, metric_names
from harness.leaderboard.store import ResultsStore
from harness.methods import Method, PairShape, get_method
from harness.options import TrainOptions
from harness.plan.notes import idle_parameters, study_notes
from harness.plan.option_checks import check_assignments
from harness.plan.ranges import parse_ranges
from harness.plan.samplers import directions
from harness.plan.start_points import within
from harness.plan.study_plan import HALVING, StudyPlan
from harness.plugins import load_plugins, method_digest
from harness.training.precision import choose_precision, cpu_flags
from harness.training.scored_trial import TrialData
from harness.training.views import frame_size
from harness.validators import validator_names
from models.encoder import EncoderSettings, build_encoder, parameter_count


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Everything a command works on once its flags proved valid.

    Attributes:
        data: index and cache, for the trials.
        pairs: domain pairs in order.
        plans: one per method.
        store: results folder of the data set.
        storage: folder of checkpoints.
        context: for the leaderboards.
        verification: of the data set: what is expected and what was found.
        notes: sentences for the user: what differs from the paper, what was cut.
    """

    data: TrialData
    pairs: tuple[Pair, ...]
    plans: tuple[StudyPlan, ...]
    store: ResultsStore
    storage: Path
    context: BoardContext
    verification: Verification
    notes: tuple[str, ...]


def prepare_studies(
    options: TrainOptions,
    *,
    trials: int | None,
    sampler: str,
    scope: str = "pair",
    ranges: Sequence[str] = (),
    both_ways: bool = True,
    progress: Callable[[str], None] = lambda sentence: None,
) -> Prepared:
    """Checks the flags against each other and against the data; reads and decodes the data.

    Raises:
        UsageError: whatever a user can mend, before anything is trained.
    """
    plugin = load_plugins(options.loss_module)
    methods = [get_method(name) for name in dict.fromkeys(options.method)]
    cache_dir = options.cache_dir or default_cache_dir()
    index = open_dataset(
        options.dataset, options.data_root, cache_dir, skip_unreadable=options.skip_unreadable
    )
    objective = resolve_objective(options.objective, index.spec.ks, options.scenario)
    pairs = resolve_pairs(index, options.pairs, options.scenario, both_ways=both_ways)
    store = ResultsStore(options.out, index.name, index.spec.ks)
    shared = _shared_by_methods(options, index, objective, sampler, scope)
    index = decoded(options, index, pairs, shared["image_size"], cache_dir, progress)
    shared["fingerprint"], shared["dataset_warnings"] = index.fingerprint, index.warnings
    data = TrialData(index, cache_dir, plugin)
    split = options.scenario, options.scenario_seed
    sizes = [tuple(map(len, domain_subset(index, *split, *pair))) for pair in pairs]
    smallest = smallest_domain(index, *split)
    plans, notes = [], list(index.warnings)
    for method in methods:
        plan, said = _plan(method, options, data, shared, ranges, smallest, sizes)
        config = continued(plan.config, store, plugin.digest if plugin else "")
        count = index.spec.defaults.trials if trials is None else trials
        plans.append(replace(plan, config=config, trials=count))
        notes += [*said, *([CONTINUED] if config.legacy_id else [])]
    return Prepared(
        data=data,
        pairs=pairs,
        plans=tuple(plans),
        store=store,
        storage=options.storage or store.root / "storage",
        context=BoardContext(
            ks=index.spec.ks,
            primary_metric=index.spec.primary_metric,
            class_count=len(index.classes),
            half_classes=class_half(index.classes, index.name, options.scenario_seed),
        ),
        verification=verify(index),
        notes=tuple(dict.fromkeys(notes)),
    )


def decoded(
    options: TrainOptions,
    index: DatasetIndex,
    pairs: Sequence[Pair],
    image_size: int,
    cache_dir: Path,
    progress: Callable[[str], None],
) -> DatasetIndex:
    """The data set after the images of these pairs were decoded."""
    wanted = {domain for pair in pairs for domain in pair}
    # With unreadable images left out the fingerprint must not depend on the pairs of a run.
    domains = [d.name for d in index.domains if d.name in wanted or options.skip_unreadable]
    return prepare(
        index,
        domains,
        frame_size(image_size),
        cache_dir,
        skip_unreadable=options.skip_unreadable,
        progress=lambda domain, done, of: progress(f"Decoding {domain}: {done} of {of} images"),
    )


def _shared_by_methods(
    options: TrainOptions, index: DatasetIndex, objective: str, sampler: str, scope: str
) -> dict[str, Any]:
    """The fields of a study that are the same for every method of a run."""
    chosen = {
        name: getattr(index.spec.defaults, name)
        if getattr(options, name) is None
        else getattr(options, name)
        for name in ("backbone", "weights", "image_size", "epochs", "batch_size")
    }
    return {
        **chosen,
        "dataset": index.name,
        "scenario": options.scenario,
        "scenario_seed": options.scenario_seed,
        "device_type": "cuda" if torch.cuda.is_available() else "cpu",
        "threads": options.cpus_per_trial,
        "preset": "scratch" if chosen["weights"] == "random" else "paper",
        "objective": objective,
        "scope": scope,
        "sampler": sampler,
        "early_stopping": _early_stopping(scope, sampler),
        "seed": options.seed,
    }


def _plan(
    method: Method,
    options: TrainOptions,
    data: TrialData,
    shared: Mapping[str, Any],
    ranges: Sequence[str],
    smallest: int,
    sizes: Sequence[tuple[int, ...]],
) -> tuple[StudyPlan, list[str]]:
    """The study of a method, and what the user should know of it."""
    source, preset, weights = data.index.spec.name, shared["preset"], shared["weights"]
    assigned = parse_assignments(options.set, method)
    check_assignments(assigned, min(map(min, sizes)))
    shape = PairShape(smallest, smallest, 2)
    recipe = method.build(method.resolve(preset, source, {}), shape)
    settings = EncoderSettings(
        backbone=shared["backbone"],
        image_size=shared["image_size"],
        embedding_size=recipe.embedding_size,
        head=recipe.head,
    )
    # Built here once, so that weights that are missing or do not fit stop the run at its start.
    encoder, report = build_encoder(settings, weights, options.seed)
    usual = method.space(smallest)
    whole = {**usual, **parse_ranges(ranges, method, usual, assigned, smallest)}
    known = method.resolve(preset, source, {}) | method.paper_point(source, smallest)
    paper = {name: known[name] for name in whole}
    first = method.build(method.resolve(preset, source, {**paper, **assigned}), shape)
    idle = (idle_parameters(first, shared["epochs"]) & set(whole)) - set(assigned)
    space = {name: values for name, values in whole.items() if name not in {*assigned, *idle}}
    config = StudyConfig(
        **shared,
        method=method.name,
        method_digest=method_digest(method, recipe, data.plugin),
        weights_digest="" if weights == "random" else report.digest,
        precision=choose_precision(
            shared["device_type"],
            cpu_flags(),
            parameter_count(encoder.backbone),
            shared["image_size"],
        ),
        fixed=assigned,
        space={name: distribution_to_json(values) for name, values in space.items()},
    )
    plan = StudyPlan(
        config=config,
        method=method,
        space=space,
        paper=paper,
        fixed={**{name: within(paper[name], whole[name]) for name in idle}, **assigned},
        covers_paper=all(value == known[name] for name, value in assigned.items() if name in known),
        trials=1,
        source=source,
    )
    loaded = [] if weights == "random" else [report.sentence]
    return plan, [*loaded, *study_notes(plan, smallest, sizes, idle)]


def _early_stopping(scope: str, sampler: str) -> str:
    """Halving within a pair; none where a proposal spans pairs or weighs two objectives."""
    compared = scope == "pair" and len(directions(sampler)) == 1
    return HALVING if compared else "none"


def smallest_domain(index: DatasetIndex, scenario: str, scenario_seed: int) -> int:
    """Images of the smallest domain of the data set after the class split.

    Over all domains, not only those of a run: the search space belongs to the study, which does
    not depend on the list of pairs.
    """
    names = [domain.name for domain in index.domains]
    return min(
        len(positions)
        for query in names
        for gallery in names
        if query != gallery
        for positions in domain_subset(index, scenario, scenario_seed, query, gallery)
    )


def parse_assignments(texts: Sequence[str], method: Method) -> dict[str, ParameterValue]:
    """Reads ``NAME=VALUE`` by the types the method declares.

    Raises:
        UsageError: no '=', an unknown name, a value of the wrong kind.
    """
    types = method.parameter_types()
    values: dict[str, ParameterValue] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set takes NAME=VALUE, not '{text}'.")
        if name not in types:
            raise UsageError(
                f"The method '{method.name}' has no parameter '{name}'. {nearest(name, types)}"
            )
        try:
            values[name] = types[name](value)
        except ValueError:
            raise UsageError(
                f"--set {name} takes a value of type {types[name].__name__}, not '{value}'."
            ) from None
    return values


def resolve_objective(text: str, ks: Sequence[int], scenario: str) -> str:
    """The objective with its metric spelled out.

    Raises:
        UsageError: an unknown score or metric, or a metric that the scenario does not yield.
    """
    name, _, metric = text.partition(":")
    if name == "oracle":
        metric = metric or f"P@{ks[0]}"
        known = [name for name in metric_names(ks) if name != "n_valid_queries"]
        if scenario != "open":
            known = [name for name in known if name not in OPEN_METRICS]
            if metric in OPEN_METRICS:
                raise UsageError(
                    f"Only --scenario open yields '{metric}'; {scenario} yields {', '.join(known)}."
                )
        if metric not in known:
            raise UsageError(f"There is no metric '{metric}'. {nearest(metric, known)}")
        return f"oracle:{metric}"
    if text not in validator_names():
        choices = [*validator_names(), "oracle"]
        raise UsageError(f"There is no objective named '{text}'. {nearest(text, choices)}")
    return text


def default_cache_dir() -> Path:
    """``$HARNESS_CACHE_DIR``, else a folder under the user's cache."""
    given = os.environ.get("HARNESS_CACHE_DIR")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "uxretrieval-harness"
