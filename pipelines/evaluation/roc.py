"""Receiver operating characteristics: one class against the rest, micro and macro average, areas below.

Shape suffixes: n images, k classes, b resamplings, m scores in ascending order, g groups of equal scores.
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
    """Scores sorted once, so that areas for many weightings of the images cost one pass each.

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
        ranked = scores[order]
        self._starts_g = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        self._positive_m = positive[order].astype(np.float64)
        self._images_m = images[order]

    def auc(self, weights_bn: Floats) -> Floats:
        """Return the area under the curve for each row of image weights; NaN where a side has no weight.

        It is the weighted share of (positive, negative) pairs in the right order, ties counting one half.
        """
        weights_bm = weights_bn[:, self._images_m]
        positive_bg = np.add.reduceat(weights_bm * self._positive_m, self._starts_g, axis=1)
        negative_bg = np.add.reduceat(weights_bm, self._starts_g, axis=1) - positive_bg
        below_bg = np.cumsum(negative_bg, axis=1) - negative_bg
        ordered_b = (positive_bg * (below_bg + negative_bg / 2)).sum(axis=1)
        pairs_b = positive_bg.sum(axis=1) * negative_bg.sum(axis=1)
        with np.errstate(invalid="ignore"):
            return np.asarray(ordered_b / pairs_b)  # 0 / 0 is NaN


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
    weights = np.ones((1, len(scores.labels)))
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
