"""Which labels are wrong, from what networks predict of images that they were not trained on.

LDCE, after the abstract of Liu, Xu, Zhang and Geng 2020 ("Label Distribution for Learning with Noisy Labels", IJCAI):
a label distribution, the confidence that it gives to the observed label, and a mixture that separates clean from noisy
labels. Beside it confident learning (Northcutt et al. 2021, arXiv:1911.00068), by the library cleanlab. Shape suffixes:
n images, k classes, d features.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from pipelines.errors import UserError

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
CLEANLAB = "cleanlab==2.9.0"
LEAST_VARIANCE = 1e-4
"""Of a component: most confidences are exactly 1, and a component of no width would hold nothing else."""


@dataclass(frozen=True, kw_only=True)
class Enhancement:
    """How label distributions are made of predictions."""

    neighbours: int
    """Of each image in the graph."""
    alpha: float
    """Weight of the neighbours' distributions; the rest is that of the prediction."""
    rounds: int
    """Times that the distributions go along the graph."""


@dataclass(frozen=True)
class Found:
    """What LDCE says of every image."""

    distribution: Floats
    """Of its label, [n, k], rows sum to 1."""
    confidence: Floats
    """Of the observed label, [n]: its share of the distribution, over the largest one; 1 where it is the largest."""
    clean: Floats
    """Probability that the observed label is right, [n]."""

    @property
    def noisy(self) -> Mask:
        """Whether the label is called wrong, [n]."""
        return self.clean <= 0.5


def neighbour_graph(features: Floats, neighbours: int) -> sparse.csr_array:
    """Return A, [n, n], rows that sum to 1: the cosines of each of `features` [n, d] to its nearest others.

    Cosines below 0 count 0; a row of zeros would be an image without neighbours, whose row then weighs them alike.
    `neighbours` is cut to n - 1.
    """
    from sklearn.neighbors import NearestNeighbors  # late, as in `layers`

    number = min(neighbours, len(features) - 1)
    search = NearestNeighbors(n_neighbors=number, metric="cosine", algorithm="brute").fit(features)
    graph = sparse.csr_array(search.kneighbors_graph(mode="distance"))
    cosines = np.clip(1 - graph.data.reshape(len(features), number), 0, None)
    totals = cosines.sum(1, keepdims=True)
    weights = np.where(totals > 0, cosines / np.where(totals > 0, totals, 1), 1 / number)
    return sparse.csr_array((weights.ravel(), graph.indices, graph.indptr), shape=graph.shape)


def enhanced(predictions: Floats, graph: sparse.csr_array, alpha: float, rounds: int) -> Floats:
    """Return D [n, k] after `rounds` times D <- alpha A D + (1 - alpha) P, from D = P, the `predictions` [n, k]."""
    distribution = predictions
    for _ in range(rounds):
        distribution = alpha * (graph @ distribution) + (1 - alpha) * predictions
    return np.asarray(distribution)


def confidences(distribution: Floats, labels: Labels) -> Floats:
    """Return D_i[y_i] / max_j D_i[j] of every image, [n], in 0..1."""
    own = distribution[np.arange(len(labels)), labels]
    return np.asarray(own / distribution.max(1))


def clean_probability(confidence: Floats) -> Floats:
    """Return the posterior, [n], of the component with the higher mean of two normal ones that fit `confidence` [n].

    The means start at the least and the largest value, so nothing is drawn. 1 everywhere where all values are equal.
    """
    from sklearn.mixture import GaussianMixture  # late, as in `layers`

    low, high = float(confidence.min()), float(confidence.max())
    if low == high:
        return np.ones_like(confidence)
    mixture = GaussianMixture(2, means_init=[[low], [high]], reg_covar=LEAST_VARIANCE, random_state=0)
    posterior = mixture.fit(confidence[:, None]).predict_proba(confidence[:, None])
    return np.asarray(posterior[:, int(mixture.means_.argmax())])


def find_by_distribution(
    predictions: Floats, features: Floats, labels: Labels, folds: Labels, how: Enhancement
) -> Found:
    """Tell clean from noisy labels by LDCE.

    `predictions` [n, k] and `features` [n, d] are those of networks that were not trained on the image, a network a
    fold; `folds` [n] says which. Features of different networks cannot be compared: the graph joins images of a fold.
    """
    distribution = np.empty_like(predictions)
    for fold in np.unique(folds):
        mine = folds == fold
        graph = neighbour_graph(features[mine], how.neighbours)
        distribution[mine] = enhanced(predictions[mine], graph, how.alpha, how.rounds)
    confidence = confidences(distribution, labels)
    return Found(distribution, confidence, clean_probability(confidence))


def find_by_confident_learning(predictions: Floats, labels: Labels) -> Mask:
    """Return which labels cleanlab calls wrong, [n], with its default, pruning by noise rate.

    `predictions` [n, k] are of networks that were not trained on the image. UserError where cleanlab is not installed.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise UserError(
            f"related.systems.ldce: confident learning needs the package cleanlab ({error}); run `pip install "
            f"{CLEANLAB}` in this environment, or `make setup`, which installs all of requirements.txt"
        ) from None
    return np.asarray(find_label_issues(labels=labels, pred_probs=predictions, n_jobs=1), dtype=np.bool_)


def precision_recall(found: Mask, wrong: Mask) -> tuple[float | None, float | None]:
    """Return which part of the labels `found` [n] is `wrong` [n], and which part of the wrong ones is found.

    None where there is none to take a part of.
    """
    hits = int((found & wrong).sum())
    return (
        hits / int(found.sum()) if found.any() else None,
        hits / int(wrong.sum()) if wrong.any() else None,
    )
