"""The fitness of a network: a short training by the suite's own loop, judged on the validation part."""

import functools
import hashlib
import json
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.data import PreparedData, Split, load_prepared
from pipelines.data.split import limit
from pipelines.models import DenseNetConfig, build_model_for, count_multiply_adds
from pipelines.search.config import SearchConfig
from pipelines.search.fitness import Fitness
from pipelines.tracking import NullTracker
from pipelines.training import DivergedError, RecipeConfig, predict_logits, resolve_runtime, train

NUM_PARTS = 10  # of the validation part, whose accuracies have the deviation
ADJUSTED: dict[str, Any] = {"schedule": "step", "milestones": (0.5, 0.75), "decay_factor": 0.1}
CONSTANT: dict[str, Any] = {"schedule": "step", "milestones": ()}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A network to judge."""

    model: str
    data_folder: Path
    data_checksum: str
    recipe: RecipeConfig
    """Its seed is that of the search; epochs, rate and schedule are replaced."""
    densenet: DenseNetConfig
    config: SearchConfig

    @property
    def key(self) -> str:
        """Return a digest of all that determines the fitness; budget and population do not."""
        config = self.config
        how = [config.epochs, config.train_images, config.rates, config.most_multiply_adds]
        content = [self.model, self.data_checksum, asdict(self.recipe), asdict(self.densenet), how]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def judge(candidate: Candidate) -> Fitness:
    """Train the network as `candidate` says and return what it is worth.

    The same candidate gives the same fitness, but for the seconds. A training that diverges, and a network with too
    many multiply-adds, has an accuracy of 0. Raises UserError where the data do not allow the training.
    """
    start = time.perf_counter()
    data = _part(candidate.data_folder, candidate.config.train_images, candidate.recipe.seed)
    recipe = candidate.recipe
    model = build_model_for(data, candidate.model, candidate.densenet, recipe.seed)
    connections = count_multiply_adds(model, (data.num_channels, data.image_size, data.image_size))
    most = candidate.config.most_multiply_adds
    accuracy, deviation = 0.0, 0.0
    reason: str | None = None
    if most is not None and connections > most:
        reason = f"{connections} multiply-adds are more than {most}"
    else:
        try:
            accuracy, deviation = _trained(candidate, data)
        except DivergedError as error:
            reason = str(error)
    return Fitness(
        accuracy=accuracy,
        deviation=deviation,
        multiply_adds=connections,
        seconds=time.perf_counter() - start,
        reason=reason,
    )


def _trained(candidate: Candidate, data: PreparedData) -> tuple[float, float]:
    """Train and return accuracy and deviation; DivergedError where the training diverges."""
    config, recipe = candidate.config, candidate.recipe
    if len(config.rates) == 1:
        return _scores(candidate, data, _over(recipe, config.epochs, config.rates[0], adjusted=False))
    tried: dict[float, float] = {}
    for rate in config.rates:
        try:
            tried[rate], _ = _scores(candidate, data, _over(recipe, 1, rate, adjusted=False))
        except DivergedError:
            continue
    if not tried:
        raise DivergedError(f"training {candidate.model} diverged at each of {list(config.rates)}")
    best = max(tried, key=tried.__getitem__)
    return _scores(candidate, data, _over(recipe, config.epochs, best, adjusted=True))


def _over(recipe: RecipeConfig, epochs: int, rate: float, *, adjusted: bool) -> RecipeConfig:
    over = recipe.over(epochs)
    schedule = ADJUSTED if adjusted else CONSTANT
    return replace(over, learning_rate=rate, **schedule)


def _scores(candidate: Candidate, data: PreparedData, recipe: RecipeConfig) -> tuple[float, float]:
    """Train by `recipe`; return accuracy and deviation of the last epoch on the validation part."""
    model = build_model_for(data, candidate.model, candidate.densenet, recipe.seed)
    with tempfile.TemporaryDirectory() as folder:
        train(
            model,
            data,
            recipe,
            folder=Path(folder),
            tracker=NullTracker(),
            description=candidate.model,
            unfinished=None,
        )
    runtime = resolve_runtime(recipe, model)
    with runtime.autocast():
        logits = predict_logits(
            model, data.validation, data, batch_size=recipe.evaluation_batch_size, device=runtime.device
        )
    right = (logits.argmax(1) == data.validation.labels.to(logits.device)).double()
    parts = torch.tensor_split(right, min(NUM_PARTS, len(right)))
    return float(right.mean()), float(np.std([float(part.mean()) for part in parts]))


@functools.cache
def _part(folder: Path, num_images: int | None, seed: int) -> PreparedData:
    """Return the data with a part of the training images, once a process."""
    data = load_prepared(folder)
    labels = data.train.labels.numpy()
    kept = torch.from_numpy(limit(labels, num_images, np.random.default_rng(seed), "search.train_images"))
    return replace(data, train=Split(data.train.images[kept], data.train.labels[kept]))
