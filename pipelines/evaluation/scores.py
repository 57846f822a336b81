"""Scores of a classifier from its logits on the test part.

Shape suffixes: n images, k classes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """What every metric is computed from, in float64."""

    probabilities: Floats
    """Softmax of the logits, [n, k]."""
    losses: Floats
    """Negative log-likelihood (natural logarithm) of each image, [n]."""
    labels: Labels
    """True classes, [n]."""

    @property
    def predictions(self) -> Labels:
        """The most probable class of each image, [n]."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether each image's most probable class is the true one, [n]."""
        return np.asarray(self.predictions == self.labels)


def scores_of(logits: torch.Tensor, labels: torch.Tensor) -> Scores:
    """Return the scores of logits float [n, k] (any device) for labels int64 [n]."""
    log_probabilities = torch.log_softmax(logits.double(), dim=1).cpu()
    losses = -log_probabilities.gather(1, labels.cpu()[:, None])[:, 0]
    return Scores(log_probabilities.exp().numpy(), losses.numpy(), labels.cpu().numpy())


def calibration_error(scores: Scores, num_bins: int) -> float:
    """Return the expected calibration error in 0..1 (Guo et al. 2017, equation 3).

    Images are binned by the probability of their predicted class, bins of equal width, each closed above; the
    gap between mean probability and accuracy of a bin counts by its share of the images.
    """
    confidence = scores.probabilities.max(axis=1)
    bins = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    gaps = np.bincount(bins, weights=confidence - scores.correct, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(confidence))


def confusion_matrix(scores: Scores) -> Labels:
    """Return the number of images by true class (row) and predicted class (column), int64 [k, k]."""
    num_classes = scores.probabilities.shape[1]
    cells = scores.labels * num_classes + scores.predictions
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
