"""The ablation: a DenseNet with one thing changed at a time, in accuracy, size, time and memory."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from pipelines.data import load_prepared
from pipelines.evaluation.evaluate import Evaluated
from pipelines.models import DenseNetConfig
from pipelines.models.blocks import block_layers, counted_depth
from pipelines.results import Row, write_json
from pipelines.study.compare import evaluate_best, tested_fields
from pipelines.study.job import StudyJob
from pipelines.study.outcome import common_fields, remove_runs, train_all
from pipelines.study.pool import num_cores, run_all
from pipelines.study.steps import peak_memory_bytes, step_of, timed_rounds
from pipelines.study.worker import Trained, Training

REFERENCE = "reference"
STEP_ROUNDS = 15


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A change of the ablated model."""

    changed: str
    """What differs from the reference, in words for the table."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the section densenet."""


def variants_of(densenet: DenseNetConfig) -> dict[str, Variant]:
    """Return the variants by name: stochastic feature reuse, scale reduction, the parts of DenseNet-BC.

    The first is the reference, `densenet` with full reuse. Without a bottleneck a variant keeps the number of
    its layers, not the nominal depth, which would double it.
    """
    by_group = {"discard_granularity": "channel_group"}
    by_layer = {"discard_granularity": "layer"}
    growth_rate, width = densenet.growth_rate, densenet.bottleneck_width
    half_growth, half_width = max(1, growth_rate // 2), max(1, width // 2)
    initial = densenet.initial_width or 2 * growth_rate
    recompute = not densenet.memory_efficient
    return {
        REFERENCE: Variant(changed="nothing: full reuse"),
        "discard_layer_25": Variant(
            changed="discard_rate 0.25 by layer", changes={"discard_rate": 0.25, **by_layer}
        ),
        "discard_group_25": Variant(
            changed="discard_rate 0.25 by channel group", changes={"discard_rate": 0.25, **by_group}
        ),
        "discard_layer_50": Variant(
            changed="discard_rate 0.5 by layer", changes={"discard_rate": 0.5, **by_layer}
        ),
        "half_growth": Variant(changed=f"growth_rate {half_growth}", changes={"growth_rate": half_growth}),
        "narrow_bottleneck": Variant(
            changed=f"bottleneck_width {half_width}", changes={"bottleneck_width": half_width}
        ),
        "half_initial": Variant(
            changed=f"initial_width {max(1, initial // 2)}", changes={"initial_width": max(1, initial // 2)}
        ),
        "both": Variant(
            changed=f"discard_rate 0.25 by layer, bottleneck_width {half_width}",
            changes={"discard_rate": 0.25, **by_layer, "bottleneck_width": half_width},
        ),
        "no_compression": Variant(changed="compression 1", changes={"compression": 1.0}),
        "no_bottleneck": Variant(changed="bottleneck false", changes={"bottleneck": False}),
        "plain": Variant(
            changed="bottleneck false, compression 1", changes={"bottleneck": False, "compression": 1.0}
        ),
        "other_memory": Variant(
            changed=f"memory_efficient {str(recompute).lower()}", changes={"memory_efficient": recompute}
        ),
    }


def variant_training(job: StudyJob, model: str, variant: Variant, seed: int) -> Training:
    """Return the training of a variant of DenseNet `model` with `seed`, at the rate of the section recipe."""
    full = replace(job.densenet, discard_rate=0.0)
    densenet = replace(full, **variant.changes)
    if densenet.bottleneck != full.bottleneck:
        # A layer counts once without bottleneck, so equally many layers are another depth.
        layers = block_layers(int(model.removeprefix("densenet")), full)
        depth = counted_depth(layers, bottleneck=densenet.bottleneck)
        densenet, model = replace(densenet, blocks={str(depth): layers}), f"densenet{depth}"
    return job.training(model, seed=seed, densenet=densenet)


def ablate(job: StudyJob) -> list[Row]:
    """Train and test every variant of `ablated_model` with every seed; returns a row each.

    Writes ablation-DATA.json; without an ablated model it holds no rows.
    """
    model = job.config.ablated_model
    rows: list[Row] = []
    finished: list[Trained] = []
    if model is not None:
        variants = variants_of(job.densenet)
        cases = [(name, seed) for name in variants for seed in job.config.seeds]
        trainings = [variant_training(job, model, variants[name], seed) for name, seed in cases]
        finished = train_all(trainings, "ablation")
        first = {name: variant_training(job, model, variants[name], job.config.seeds[0]) for name in variants}
        costs = measure_costs(first)
        data = load_prepared(job.data_folder)
        for (name, _), trained in zip(cases, finished, strict=True):
            evaluated = evaluate_best(job, trained, data)
            row = _row(trained, evaluated) | {"model": model}
            rows.append(row | {"variant": name, "changed": variants[name].changed} | costs[name])
    write_json(job.results / f"ablation-{job.data}.json", rows)
    remove_runs(finished)
    return rows


def measure_costs(trainings: Mapping[str, Training]) -> dict[str, Row]:
    """Return what a training step of each takes, the first being the reference.

    step_seconds_median and step_over_reference (the median over rounds of both steps' ratio) with
    step_threads threads, all in this process; peak_memory_bytes, each in a process of its own.
    """
    peaks = run_all(
        peak_memory_bytes,
        list(trainings.values()),
        num_processes=num_cores(),
        description="memory",
        fresh=True,
    )
    data = load_prepared(next(iter(trainings.values())).data_folder)
    seconds = timed_rounds({name: step_of(one, data) for name, one in trainings.items()}, STEP_ROUNDS)
    reference = next(iter(seconds.values()))
    return {
        name: {
            "step_seconds_median": statistics.median(seconds[name]),
            "step_over_reference": statistics.median(
                mine / theirs for mine, theirs in zip(seconds[name], reference, strict=True)
            ),
            "step_threads": torch.get_num_threads(),
            "peak_memory_bytes": peak,
        }
        for name, peak in zip(trainings, peaks, strict=True)
    }


def _row(trained: Trained, evaluated: Evaluated | None) -> Row:
    return {
        **common_fields(trained, "ablation"),
        **tested_fields(evaluated),
        "best_validation_accuracy": trained.summary.get("best_validation_accuracy"),
    }
