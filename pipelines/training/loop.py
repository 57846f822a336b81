"""Training a model by the recipe: epochs, validation, checkpoints, exact resume."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from pipelines.data import PreparedData, training_batches
from pipelines.errors import UserError
from pipelines.models import ModelSpec, spec_of
from pipelines.training.checkpoint import (
    BEST,
    LAST,
    PREVIOUS,
    Checkpoint,
    EpochRow,
    generators_of,
    load_resumable,
    restore_generators,
    save_checkpoint,
)
from pipelines.training.config import RecipeConfig
from pipelines.training.epoch import (
    DivergedError,
    Objective,
    StepFacts,
    check_gradients,
    compute_gradients,
    train_epoch,
)
from pipelines.training.freezing import plan_freezing, training_mode
from pipelines.training.optimizer import build_optimizer
from pipelines.training.prediction import Judge, loss_and_score
from pipelines.training.runtime import resolve_runtime
from pipelines.training.statistics import settle_statistics

if TYPE_CHECKING:  # MLflow takes seconds to import, and nothing here calls it but through the argument
    from pipelines.tracking import Tracker


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training run gave; the weights are in the checkpoints."""

    history: list[EpochRow]
    """A row per epoch: epoch (from 1), learning_rate (at its end), losses, accuracies (0..1), seconds."""
    best_epoch: int
    best_checkpoint: Path
    device: str
    precision: str

    @property
    def best_row(self) -> EpochRow:
        """The row of the epoch whose weights are in `best_checkpoint`."""
        return self.history[self.best_epoch - 1]

    @property
    def train_seconds(self) -> float:
        """Time of all epochs, validation included, across interruptions."""
        return sum(row["seconds"] for row in self.history)


def train(
    model: nn.Module,
    data: PreparedData,
    recipe: RecipeConfig,
    *,
    folder: Path,
    tracker: "Tracker",
    description: str,
    objective: Objective | None = None,
    judge: Judge | None = None,
    unfinished: Checkpoint | Literal["look"] | None = "look",
) -> TrainResult:
    """Train `model`, in place, on the training part; choose the best epoch on the validation part.

    `objective` is what the steps minimise, None the mean cross-entropy; validation is by cross-entropy anyway. A
    network that is no classifier has a `judge` for it and nan for its accuracies; of its epochs the one of least loss
    is the best. What `recipe.frozen` names keeps its weights and statistics until its release; `recipe.start_from` is
    the caller's.

    Writes `folder`/last.pt after every epoch, the one before staying as previous.pt, and best.pt after every better
    one. Where the newest whole one belongs to an unfinished run of the same model, recipe and data, training goes on
    after its epoch, bit for bit as if it had not been interrupted; otherwise it starts anew. Who has called
    `unfinished_checkpoint` already hands over what it has found. Every epoch's row goes to `tracker`.
    Raises DivergedError where the loss is no longer finite, UserError where the training part is smaller than a batch.
    """
    run = _Run(model, data, recipe, folder, objective, judge)
    if unfinished == "look":
        unfinished = unfinished_checkpoint(folder, spec_of(model), recipe, data)
    if unfinished is not None:
        run.resume(unfinished)
    epochs = range(run.epoch, recipe.epochs)
    with tqdm(epochs, desc=description, initial=run.epoch, total=recipe.epochs, disable=None) as progress:
        for _ in progress:
            row = run.next_epoch()
            run.save()
            tracker.log_history(run.history)
            shown = "validation_accuracy" if judge is None else "validation_loss"
            progress.set_postfix(loss=f"{row['train_loss']:.3f}", validation=f"{row[shown]:.4f}")
    return TrainResult(
        history=run.history,
        best_epoch=run.best_epoch,
        best_checkpoint=run.best_path,
        device=run.runtime.device.type,
        precision=run.runtime.precision,
    )


def unfinished_checkpoint(
    folder: Path, spec: ModelSpec, recipe: RecipeConfig, data: PreparedData
) -> Checkpoint | None:
    """Return the newest whole checkpoint in `folder` if it is of this very run and unfinished: `train` resumes it."""
    last = load_resumable(folder)
    if last is None:
        return None
    same = (last.spec, last.recipe, last.data_checksum) == (spec, recipe.identity(), data.checksum)
    return last if same and not last.finished and last.optimizer_state is not None else None


class _Run:
    """The state of one training run."""

    def __init__(
        self,
        model: nn.Module,
        data: PreparedData,
        recipe: RecipeConfig,
        folder: Path,
        objective: Objective | None,
        judge: Judge | None,
    ) -> None:
        self.model, self.data, self.recipe = model, data, recipe
        self.objective, self.judge = objective, judge
        self.folder, self.best_path = folder, folder / BEST
        self.runtime = resolve_runtime(recipe, model)
        self.runtime.place(model)
        self.forward = self.runtime.forward_of(model)
        self.optimizer = build_optimizer(model, recipe)
        self.freezing = plan_freezing(model, recipe)
        self.epoch = 0
        self.best_epoch = 0
        self.history: list[EpochRow] = []
        num_images = len(data.train)
        if num_images < recipe.batch_size:
            raise UserError(
                f"recipe.batch_size: {recipe.batch_size} is not allowed; "
                f"allowed: at most {num_images}, the images of the training part"
            )
        self.batches = training_batches(
            data, recipe.batch_size, seed=recipe.seed, device=self.runtime.device, augment=recipe.augment
        )

    def resume(self, last: Checkpoint) -> None:
        """Take over the state of an unfinished run's last checkpoint."""
        assert last.optimizer_state is not None
        self.model.load_state_dict(last.model_state)
        self.optimizer.load_state_dict(last.optimizer_state)
        restore_generators(self.model, last.generator_states)
        self.epoch, self.best_epoch, self.history = last.epoch, last.best_epoch, last.history

    def next_epoch(self) -> EpochRow:
        """Train one epoch, validate, append and return its row."""
        start = time.perf_counter()
        with torch.random.fork_rng():
            # Dropout and the like draw from the global state: a function of seed and epoch, hence resumable.
            torch.manual_seed(_epoch_seed(self.recipe.seed, self.epoch))
            train_loss, train_accuracy = self._train_epoch()
            with self.runtime.autocast():
                settle_statistics(self.model, (self.runtime.images(images) for images, _ in self.batches))
        validation_loss, validation_accuracy = self._validate()
        row: EpochRow = {
            "epoch": self.epoch + 1,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "train_loss": train_loss,
            "train_accuracy": train_accuracy,
            "validation_loss": validation_loss,
            "validation_accuracy": validation_accuracy,
            "seconds": time.perf_counter() - start,
        }
        self.epoch += 1
        self.history.append(row)
        if self.best_epoch == 0 or _rank(row) > _rank(self.history[self.best_epoch - 1]):
            self.best_epoch = self.epoch
        return row

    def _train_epoch(self) -> tuple[float, float]:
        """Run the epoch's steps; return mean loss and accuracy over its images as they were trained on."""
        self.freezing.apply(self.model, self.epoch)
        training_mode(self.model)
        self.correct = torch.zeros((), device=self.runtime.device)
        try:
            mean_loss = train_epoch(self.batches, self.optimizer, self.recipe, self.epoch, self._step)
        except DivergedError as error:
            raise DivergedError(
                f"training {spec_of(self.model).name}: {error} in epoch {self.epoch + 1}; "
                f"lower recipe.learning_rate ({self.recipe.learning_rate}) or raise recipe.warmup_epochs "
                f"({self.recipe.warmup_epochs})"
            ) from None
        if self.judge is not None:
            return mean_loss, math.nan
        return mean_loss, float(self.correct) / (len(self.batches) * self.recipe.batch_size)

    def _step(self, images: Tensor, labels: Tensor, *, facts: StepFacts, last: bool) -> Tensor:  # noqa: ARG002
        """Make one optimizer step and count the images that it was right about."""
        loss, logits = compute_gradients(
            self.forward,
            self.optimizer,
            self.runtime.images(images),
            labels,
            self.runtime.autocast(),
            self.objective,
            facts,
        )
        check_gradients(self.model)
        self.optimizer.step()
        if self.judge is None:
            self.correct += (logits[:, : self.data.num_classes].argmax(1) == labels).sum()
        return loss

    def _validate(self) -> tuple[float, float]:
        with self.runtime.autocast():
            return loss_and_score(
                self.model,
                self.data.validation,
                self.data,
                batch_size=self.recipe.evaluation_batch_size,
                device=self.runtime.device,
                judge=self.judge,
            )

    def save(self) -> None:
        """Write best.pt if the last epoch was the best so far, then last.pt."""
        if self.best_epoch == self.epoch:
            save_checkpoint(self._checkpoint(with_optimizer=False), self.best_path)
        save_checkpoint(self._checkpoint(with_optimizer=True), self.folder / LAST, self.folder / PREVIOUS)

    def _checkpoint(self, *, with_optimizer: bool) -> Checkpoint:
        return Checkpoint(
            spec=spec_of(self.model),
            recipe=self.recipe.identity(),
            data_name=self.data.name,
            class_names=self.data.class_names,
            mean=self.data.mean,
            std=self.data.std,
            data_checksum=self.data.checksum,
            transform=self.data.transform,
            epoch=self.epoch,
            best_epoch=self.best_epoch,
            finished=False,
            history=self.history,
            model_state=self.model.state_dict(),
            optimizer_state=self.optimizer.state_dict() if with_optimizer else None,
            generator_states={name: own.get_state() for name, own in generators_of(self.model).items()},
        )


def _rank(row: EpochRow) -> tuple[float, float]:
    """Order epochs by validation accuracy, equal ones, and those of no classifier, by validation loss."""
    accuracy = row["validation_accuracy"]
    return 0.0 if math.isnan(accuracy) else accuracy, -row["validation_loss"]


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence((seed, epoch, 1)).generate_state(1, np.uint64)[0])
