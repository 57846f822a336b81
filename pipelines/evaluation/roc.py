"""Receiver operating characteristics: one class against the rest, micro and macro average, areas below.

Shape suffixes: n images, k classes, b weightings of the images.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_curve

from pipelines.evaluation.scores import Floats, Scores

MICRO = "micro average"
MACRO = "macro average"
# Points of a stored or drawn curve; between two of them fpr + tpr grows by at most 2 / 400.
MAX_POINTS = 400


@dataclass(frozen=True)
class Curve:
    """One ROC curve: false and true positive rates, both ascending from 0 to 1."""

    name: str
    fpr: Floats
    tpr: Floats
    auc: float


class RankedScores:
    """Scores sorted once, so that areas for many weightings of the images cost one pass over the negatives.

    Parameters
    ----------
    scores: [m] values, higher for "positive".
    positive: bool [m].
    images: int64 [m], the image that each score belongs to.
    """

    def __init__(
        self, scores: Floats, positive: npt.NDArray[np.bool_], images: npt.NDArray[np.int64]
    ) -> None:
        order = np.argsort(scores, kind="stable")
        ranked, is_positive, ranked_images = scores[order], positive[order], images[order]
        negatives = ranked[~is_positive]
        self._negative_images = ranked_images[~is_positive]
        self._positive_images = ranked_images[is_positive]
        # For each positive, the number of negatives below it, and of those not above it.
        self._num_below = np.searchsorted(negatives, ranked[is_positive], side="left")
        self._num_not_above = np.searchsorted(negatives, ranked[is_positive], side="right")

    def auc(self, weights_nb: Floats) -> Floats:
        """Return the area under the curve for each column of image weights; NaN where a side has no weight.

        It is the weighted share of (positive, negative) pairs in the right order, ties counting one half.
        """
        # Row i: the weight of the i lowest negatives.
        sums = np.zeros((len(self._negative_images) + 1, weights_nb.shape[1]))
        np.cumsum(weights_nb[self._negative_images], axis=0, out=sums[1:])
        positive = weights_nb[self._positive_images]
        beaten = (sums[self._num_below] + sums[self._num_not_above]) / 2
        ordered = np.einsum("pb,pb->b", positive, beaten)
        with np.errstate(invalid="ignore"):
            return np.asarray(ordered / (positive.sum(axis=0) * sums[-1]))  # 0 / 0 is NaN


def rank_classes(scores: Scores) -> list[RankedScores]:
    """Return the ranking of each class against the rest."""
    images = np.arange(len(scores.labels))
    return [
        RankedScores(column, scores.labels == label, images)
        for label, column in enumerate(scores.probabilities.T)
    ]


def rank_micro(scores: Scores) -> RankedScores:
    """Return the ranking of all (image, class) decisions together."""
    num_images, num_classes = scores.probabilities.shape
    positive = scores.labels[:, None] == np.arange(num_classes)
    images = np.repeat(np.arange(num_images), num_classes)
    return RankedScores(scores.probabilities.ravel(), positive.ravel(), images)


def roc_curves(scores: Scores, class_names: tuple[str, ...]) -> list[Curve]:
    """Return the curve of each class, then the micro and the macro average.

    The macro curve is the mean of the classes' true positive rates at equal false positive rate; its area is
    the mean of theirs.
    """
    weights = np.ones((len(scores.labels), 1))
    areas = [float(ranked.auc(weights)[0]) for ranked in rank_classes(scores)]
    one_hot = scores.labels[:, None] == np.arange(len(class_names))
    curves = [
        _curve(name, one_hot[:, label], scores.probabilities[:, label], areas[label])
        for label, name in enumerate(class_names)
    ]
    micro_area = float(rank_micro(scores).auc(weights)[0])
    micro = _curve(MICRO, one_hot.ravel(), scores.probabilities.ravel(), micro_area)
    grid = np.unique(np.concatenate([curve.fpr for curve in curves]))
    mean = np.mean([np.interp(grid, curve.fpr, curve.tpr) for curve in curves], axis=0)
    macro = thin(Curve(MACRO, np.r_[0.0, grid], np.r_[0.0, mean], float(np.mean(areas))))
    return [*(thin(curve) for curve in curves), micro, macro]


def _curve(name: str, positive: npt.NDArray[np.bool_], scores: Floats, auc: float) -> Curve:
    fpr, tpr, _ = roc_curve(positive, scores, drop_intermediate=True)
    curve = Curve(name, fpr, tpr, auc)
    return thin(curve) if name == MICRO else curve


def thin(curve: Curve) -> Curve:
    """Return the curve with at most MAX_POINTS of its points, spread evenly along it, both ends included."""
    length = curve.fpr + curve.tpr
    if len(length) <= MAX_POINTS:
        return curve
    kept = np.unique(np.searchsorted(length, np.linspace(0, length[-1], MAX_POINTS)))
    kept = np.unique(np.r_[0, kept, len(length) - 1])
    return Curve(curve.name, curve.fpr[kept], curve.tpr[kept], curve.auc)
