"""Training by one recipe: schedule, optimizer, loop, checkpoints, prediction."""

from pipelines.training.checkpoint import Checkpoint, EpochRow, load_checkpoint, mark_finished, rebuild_model
from pipelines.training.config import BaselineConfig, RecipeConfig, TrainConfig
from pipelines.training.epoch import DivergedError, Objective, check_gradients, compute_gradients, train_epoch
from pipelines.training.loop import TrainResult, train
from pipelines.training.optimizer import build_optimizer
from pipelines.training.prediction import Judge, loss_and_accuracy, loss_and_score, predict_logits
from pipelines.training.runtime import Runtime, resolve_runtime
from pipelines.training.statistics import settle_statistics

__all__ = [
    "BaselineConfig",
    "Checkpoint",
    "DivergedError",
    "EpochRow",
    "Judge",
    "Objective",
    "RecipeConfig",
    "Runtime",
    "TrainConfig",
    "TrainResult",
    "build_optimizer",
    "check_gradients",
    "compute_gradients",
    "load_checkpoint",
    "loss_and_accuracy",
    "loss_and_score",
    "mark_finished",
    "predict_logits",
    "rebuild_model",
    "resolve_runtime",
    "settle_statistics",
    "train",
    "train_epoch",
]
