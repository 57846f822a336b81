"""Confidence intervals by resampling the test images (percentile bootstrap, Efron 1979)."""

from collections.abc import Callable

import numpy as np

from pipelines.evaluation.roc import rank_classes, rank_micro
from pipelines.evaluation.scores import Floats, Scores

# Resamplings at a time: rows of weights that are gathered whole, and little memory (a million scores: 256 MB).
_CHUNK = 32

Statistic = Callable[[Floats], Floats]


def statistics_of(scores: Scores) -> dict[str, Statistic]:
    """Return each metric as a function from image weights [n, b] to values [b]; weights of 1 give the metric."""
    correct = scores.correct.astype(np.float64)
    classes, micro = rank_classes(scores), rank_micro(scores)

    def macro(weights: Floats) -> Floats:
        # A class that a resampling does not contain has no area in it; the others' mean stands.
        areas = np.stack([ranked.auc(weights) for ranked in classes])
        return np.asarray(np.nanmean(areas, axis=0))

    return {
        "test_accuracy": lambda weights: correct @ weights / weights.sum(axis=0),
        "test_loss": lambda weights: scores.losses @ weights / weights.sum(axis=0),
        "auc_macro": macro,
        "auc_micro": micro.auc,
    }


def intervals(
    scores: Scores, statistics: dict[str, Statistic], num_samples: int, confidence: float, seed: int
) -> dict[str, tuple[float, float]]:
    """Return the percentile interval of each statistic over `num_samples` resamplings of the images.

    All statistics see the same resamplings, which depend on `seed` and the number of images alone.
    """
    generator = np.random.default_rng(seed)
    values: dict[str, list[Floats]] = {name: [] for name in statistics}
    for start in range(0, num_samples, _CHUNK):
        weights = _resample(min(_CHUNK, num_samples - start), len(scores.labels), generator)
        for name, statistic in statistics.items():
            values[name].append(statistic(weights))
    tail = 50 * (1 - confidence)
    result = {}
    for name, parts in values.items():
        low, high = np.nanpercentile(np.concatenate(parts), [tail, 100 - tail])
        result[name] = (float(low), float(high))
    return result


def _resample(num_samples: int, num_images: int, generator: np.random.Generator) -> Floats:
    """Return how often each image was drawn with replacement, [num_images, num_samples]."""
    draws = generator.integers(0, num_images, (num_samples, num_images))
    draws += np.arange(num_samples)[:, None] * num_images
    counts = np.bincount(draws.ravel(), minlength=num_samples * num_images)
    return np.ascontiguousarray(counts.reshape(num_samples, num_images).T, dtype=np.float64)
