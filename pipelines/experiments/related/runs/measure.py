"""What a trained variant is: its scores, its size, and the bytes of its gradients."""

import copy
from collections.abc import Collection

from torch import nn

from pipelines.data import PreparedData, ordered_batches
from pipelines.evaluation.evaluate import evaluate_model, resolve_device
from pipelines.evaluation.latency import measure_latency
from pipelines.evaluation.runs import BEST, TrainedRun
from pipelines.experiments.related.job import RelatedJob
from pipelines.experiments.related.runs.trials import Trial
from pipelines.experiments.study.runs.compare import tested_fields
from pipelines.experiments.study.runs.outcome import common_fields
from pipelines.experiments.study.runs.worker import load_once
from pipelines.models import count_multiply_adds, count_parameters
from pipelines.parallel.strategies import build_strategy
from pipelines.results import Row
from pipelines.training import Judge, load_checkpoint, plan_freezing, predict_logits

WORKERS = 2


def measure(job: RelatedJob, trial: Trial) -> Row:
    """Return the flat row of a training: what it was, and unless it diverged, what the variant has become.

    num_parameters and num_multiply_adds are those of the network to use, num_trained_parameters of the one that was
    trained, without what was frozen to the end; reference_bytes_per_step and compressed_bytes_per_step what a worker
    hands to the collectives for that one's gradients; finish_difference the largest change of a logit of the test part
    by `finish`, of one that was at most 1 in size, else relative to it.
    """
    training = trial.training
    variant = training.declared
    row = common_fields(trial.trained, "run")
    row |= {"system": job.system.name, "variant": variant.name, "role": str(variant.role)}
    row |= {"num_trained_parameters": row["num_parameters"]}
    published = variant.published.get(job.data)
    row["published_accuracy"] = None if published is None else published.accuracy_percent / 100
    row["published_source"] = None if published is None else published.source
    if trial.diverged:
        return row | tested_fields(None)
    folder, data = trial.trained.folder, training.inputs(load_once(job.data_folder))
    trained = training.restore(folder)
    network = training.finished(copy.deepcopy(trained))
    frozen = plan_freezing(trained, training.recipe).frozen_in(training.recipe.epochs - 1)
    row |= gradient_bytes(job, trained, frozen)
    row["num_trained_parameters"] -= sum(trained.get_parameter(name).numel() for name in frozen)
    row["best_validation_accuracy"] = trial.trained.summary["best_validation_accuracy"]
    judge = training.judge(data)
    row |= _classified(job, trial, network, data) if judge is None else _judged(job, judge, network, data)
    if variant.finish is not None:
        device, size = next(network.parameters()).device, job.evaluate.batch_size
        before, after = (
            predict_logits(one.to(device), data.test, data, batch_size=size, device=device)
            for one in (trained, network)
        )
        row["finish_difference"] = float(((after - before).abs() / before.abs().clamp(min=1)).max())
    extra = job.system.extra(variant, trained.cpu(), copy.deepcopy(network).cpu(), training.context(data))
    if clash := row.keys() & extra.keys():
        raise ValueError(f"{job.system.name}: the measures {sorted(clash)} are those of every row")
    if training.recipe.seed == job.shared.seeds[0]:
        job.system.keep(variant, network, job.kept_file)
    return row | extra


def _classified(job: RelatedJob, trial: Trial, network: nn.Module, data: PreparedData) -> Row:
    """Return the scores, the size and the speed of a classifier; moves it to the device of the evaluation."""
    training = trial.training
    run = TrainedRun(
        name=training.variant,
        model=training.model,
        seed=training.recipe.seed,
        checkpoint=load_checkpoint(trial.trained.folder / BEST),
        summary=trial.trained.summary,
        history=trial.trained.history,
    )
    evaluated = evaluate_model(network, run, data, job.evaluate)
    row = tested_fields(evaluated)
    for key in ("inference_latency_seconds_median", "inference_images_per_second"):
        row[key] = evaluated.row[key]
    return row | _size(network, data)


def _judged(job: RelatedJob, judge: Judge, network: nn.Module, data: PreparedData) -> Row:
    """Return the test loss, the size and the speed of a network that is no classifier; moves it likewise."""
    config = job.evaluate
    device = resolve_device(config.device)
    network.to(device)
    images, _ = next(iter(ordered_batches(data.test, data, 1, device)))
    latency = measure_latency(
        network, images, num_warmup=config.latency_warmup, num_repeats=config.latency_repeats
    )
    loss = judge(network, data.test, data, batch_size=config.batch_size, device=device)
    return {
        **tested_fields(None),
        "test_loss": loss,
        "num_test": len(data.test),
        "inference_latency_seconds_median": latency.median_seconds,
        **_size(network, data),
    }


def _size(network: nn.Module, data: PreparedData) -> Row:
    shape = (data.num_channels, data.image_size, data.image_size)
    return {
        "num_parameters": count_parameters(network),
        "num_multiply_adds": count_multiply_adds(network, shape),
    }


def gradient_bytes(job: RelatedJob, network: nn.Module, frozen: Collection[str] = ()) -> Row:
    """Return the payload in bytes that a worker hands to the collectives in a step of the steady state.

    By the patterns of the methods `related.reference` and `related.compressed`, for two workers; nothing is sent of the
    parameters called `frozen`.
    """
    trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad and name not in frozen]
    tensors = [(name, tuple(p.shape)) for name, p in trained]
    sent: Row = {}
    for key in ("reference", "compressed"):
        strategy, _ = build_strategy(getattr(job.shared, key), job.params)
        sent[f"{key}_bytes_per_step"] = strategy.pattern(tensors, WORKERS).wire_bytes()
    return sent
