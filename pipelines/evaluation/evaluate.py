"""One model on the test part: all its scores in one flat row."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pipelines.data import PreparedData, ordered_batches
from pipelines.errors import UserError
from pipelines.evaluation.bootstrap import intervals, statistics_of
from pipelines.evaluation.config import EvaluateConfig
from pipelines.evaluation.latency import measure_latency
from pipelines.evaluation.roc import Curve, roc_curves
from pipelines.evaluation.runs import TrainedRun
from pipelines.evaluation.scores import Scores, calibration_error, scores_of
from pipelines.models import count_multiply_adds, count_parameters
from pipelines.provenance import provenance
from pipelines.results import Row
from pipelines.training import predict_logits, rebuild_model


@dataclass(frozen=True)
class Evaluated:
    """A run with its scores, its curves and its row."""

    run: TrainedRun
    scores: Scores
    curves: list[Curve]
    row: Row


def resolve_device(name: str) -> torch.device:
    """Return the device that `evaluate.device` names; UserError where CUDA is asked for and missing."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError("evaluate.device: 'cuda' is not available on this machine; allowed here: cpu, auto")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def evaluate_run(run: TrainedRun, data: PreparedData, config: EvaluateConfig) -> Evaluated:
    """Evaluate the run's best checkpoint on the test part, in float32, and time it on single images."""
    return evaluate_model(rebuild_model(run.checkpoint), run, data, config)


def evaluate_model(
    model: nn.Module, run: TrainedRun, data: PreparedData, config: EvaluateConfig
) -> Evaluated:
    """Do the same with `model`, in evaluation mode, which is what became of the run's best checkpoint; moves it."""
    device = resolve_device(config.device)
    model.to(device)
    shape = (data.num_channels, data.image_size, data.image_size)
    images, _ = next(iter(ordered_batches(data.test, data, 1, device)))
    latency = measure_latency(
        model, images, num_warmup=config.latency_warmup, num_repeats=config.latency_repeats
    )
    start = time.perf_counter()
    logits = predict_logits(model, data.test, data, batch_size=config.batch_size, device=device)
    seconds = time.perf_counter() - start
    scores = scores_of(logits, data.test.labels)
    row: Row = {
        "model": run.model,
        "seed": run.seed,
        "data": data.name,
        "data_checksum": data.checksum,
        "num_test": len(data.test),
        **_metrics(scores, config),
        "num_parameters": count_parameters(model),
        "num_multiply_adds": count_multiply_adds(model, shape),
        "inference_latency_seconds_median": latency.median_seconds,
        "inference_latency_seconds_iqr": latency.iqr_seconds,
        "inference_images_per_second": len(data.test) / seconds,
        "epochs": run.summary["epochs"],
        "best_epoch": run.checkpoint.best_epoch,
        "validation_accuracy": run.summary["best_validation_accuracy"],
        "train_seconds": run.summary["train_seconds"],
        "train_device": run.summary["device"],
        **provenance(device),
    }
    return Evaluated(run, scores, roc_curves(scores, data.class_names), row)


def _metrics(scores: Scores, config: EvaluateConfig) -> Row:
    """Return the metrics, each with its confidence interval (`_low`, `_high`) where it has one."""
    statistics = statistics_of(scores)
    bounds = intervals(scores, statistics, config.bootstrap_samples, config.confidence, config.seed)
    weights = np.ones((len(scores.labels), 1))
    row: Row = {}
    for name, statistic in statistics.items():
        row[name] = float(statistic(weights)[0])
        row[f"{name}_low"], row[f"{name}_high"] = bounds[name]
    row["calibration_error"] = calibration_error(scores, config.calibration_bins)
    return row
