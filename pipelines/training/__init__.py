"""Training by one recipe: schedule, optimizer, loop, checkpoints, prediction."""

from pipelines.training.checkpoint import Checkpoint, EpochRow, load_checkpoint, mark_finished, rebuild_model
from pipelines.training.config import BaselineConfig, RecipeConfig, StartConfig, TrainConfig
from pipelines.training.epoch import (
    DivergedError,
    Objective,
    StepFacts,
    StepObjective,
    check_gradients,
    compute_gradients,
    train_epoch,
)
from pipelines.training.freezing import Freezing, plan_freezing, training_mode
from pipelines.training.loop import TrainResult, train
from pipelines.training.optimizer import build_optimizer
from pipelines.training.prediction import (
    Judge,
    loss_and_accuracy,
    loss_and_score,
    predict_features,
    predict_logits,
)
from pipelines.training.runtime import Runtime, resolve_runtime
from pipelines.training.start import copy_fitting, start_model
from pipelines.training.statistics import settle_statistics

__all__ = [
    "BaselineConfig",
    "Checkpoint",
    "DivergedError",
    "EpochRow",
    "Freezing",
    "Judge",
    "Objective",
    "RecipeConfig",
    "Runtime",
    "StartConfig",
    "StepFacts",
    "StepObjective",
    "TrainConfig",
    "TrainResult",
    "build_optimizer",
    "check_gradients",
    "compute_gradients",
    "copy_fitting",
    "load_checkpoint",
    "loss_and_accuracy",
    "loss_and_score",
    "mark_finished",
    "plan_freezing",
    "predict_features",
    "predict_logits",
    "rebuild_model",
    "resolve_runtime",
    "settle_statistics",
    "start_model",
    "train",
    "train_epoch",
    "training_mode",
]
