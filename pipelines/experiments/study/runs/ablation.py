"""The ablation: a DenseNet with one thing changed at a time, in accuracy, size, time and memory."""

from collections.abc import Mapping
from dataclasses import replace

from pipelines.data import load_prepared
from pipelines.evaluation.evaluate import Evaluated
from pipelines.experiments.study.job import StudyJob, Training
from pipelines.experiments.study.runs.compare import evaluate_best, tested_fields
from pipelines.experiments.study.runs.outcome import common_fields, remove_runs, train_all
from pipelines.experiments.study.runs.steps import peak_memories, step_costs
from pipelines.experiments.study.runs.worker import Trained
from pipelines.experiments.study.variants import REFERENCE, Variant, variants_of
from pipelines.models.blocks import block_layers, counted_depth
from pipelines.models.statistics import count_training_multiply_adds
from pipelines.results import Row, write_json

NUM_DRAWS = 10  # of what a step discards; nearly all groups being of one size, its multiply-adds vary little


def chosen_variants(job: StudyJob) -> dict[str, Variant]:
    """Return the variants that the section names, the reference always first."""
    chosen = job.config.ablated_variants
    return {
        name: one
        for name, one in variants_of(job.densenet).items()
        if chosen is None or name == REFERENCE or name in chosen
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
        variants = chosen_variants(job)
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
    rows = [row | {"data": job.data} for row in rows]
    write_json(job.results / f"ablation-{job.data}.json", rows)
    remove_runs(finished)
    return rows


def measure_costs(trainings: Mapping[str, Training]) -> dict[str, Row]:
    """Return what a training step of each takes, the first being the reference.

    train_multiply_adds: those of a forward pass in training mode per image, the mean of
    train_multiply_adds_draws passes from the run's seed on. The times of `step_costs`. peak_memory_bytes, each in a
    process of its own.
    """
    peaks = peak_memories(list(trainings.values()))
    data = load_prepared(next(iter(trainings.values())).data_folder)
    times = step_costs(trainings, data)
    shape = (data.num_channels, data.image_size, data.image_size)
    return {
        name: {
            "train_multiply_adds": count_training_multiply_adds(one.build(data), shape, NUM_DRAWS),
            "train_multiply_adds_draws": NUM_DRAWS,
            **times[name],
            "peak_memory_bytes": peak,
        }
        for (name, one), peak in zip(trainings.items(), peaks, strict=True)
    }


def _row(trained: Trained, evaluated: Evaluated | None) -> Row:
    return {
        **common_fields(trained, "ablation"),
        **tested_fields(evaluated),
        "best_validation_accuracy": trained.summary.get("best_validation_accuracy"),
    }
