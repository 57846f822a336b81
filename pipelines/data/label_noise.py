"""Wrong labels, added on purpose to the training part: how much they cost, and how well they are found.

The two kinds of the literature on noisy labels (Han et al. 2018, arXiv:1804.06872, figure 2): symmetric noise gives a
label any other class, pair noise the next one. Every label is drawn by itself from its class's row of a transition
matrix. Shape suffix: k classes.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from pipelines.data.config import LabelNoiseConfig
from pipelines.data.prepared import SPLITS, PreparedData, Split, checksum_of
from pipelines.errors import UserError

Matrix = npt.NDArray[np.float64]

_STREAM = 0x6C61_6265  # keeps the draws apart from those of the split, which have the same seed


def transition_matrix(noise: LabelNoiseConfig, num_classes: int) -> Matrix:
    """Return T, float64 [k, k]: T[i, j] is the probability that an image of class i is labelled j; rows sum to 1.

    Raises UserError where an image's true class would not be its likeliest label.
    """
    share = noise.percent / 100
    if noise.kind == "symmetric":
        matrix = np.full((num_classes, num_classes), share / (num_classes - 1))
    else:
        matrix = share * np.roll(np.eye(num_classes), 1, axis=1)
    np.fill_diagonal(matrix, 1 - share)
    others = matrix - np.diag(np.diag(matrix))
    if others.max() >= 1 - share:
        most = 100 / (1 + others.max() / share)
        raise UserError(
            f"prepare.label_noise.percent: {noise.percent} is not allowed for {num_classes} classes; allowed: below "
            f"{most:.4g}, so that the true class stays the likeliest label"
        )
    return matrix


def with_label_noise(data: PreparedData, noise: LabelNoiseConfig, seed: int) -> PreparedData:
    """Return `data` with wrong labels in the training part, whose `true_labels` are what they were.

    Validation and test part keep their labels: what is chosen and measured there is about the true classes. A pure
    function of its arguments. Raises UserError as `transition_matrix` does, ValueError where noise was added already.
    """
    if data.train.true_labels is not None:
        raise ValueError("the training labels are noisy already")
    true = data.train.labels
    drawn = draw_labels(true.numpy(), transition_matrix(noise, data.num_classes), seed)
    train = replace(data.train, labels=torch.from_numpy(drawn), true_labels=true)
    splits = {name: getattr(data, name) for name in SPLITS} | {"train": train}
    return replace(data, train=train, checksum=checksum_of(splits, data.class_names))


def draw_labels(labels: npt.NDArray[np.int64], matrix: Matrix, seed: int) -> npt.NDArray[np.int64]:
    """Return labels int64 [n], each drawn from the row of `matrix` [k, k] that its own of `labels` [n] names."""
    generator = np.random.default_rng((seed, _STREAM))
    bounds = np.cumsum(matrix, axis=1)
    bounds[:, -1] = 1.0  # a rounded sum must not leave a gap below 1
    drawn = generator.random(len(labels))[:, None] >= bounds[labels]
    return np.asarray(drawn.sum(1), dtype=np.int64)


def is_wrong(split: Split) -> torch.Tensor:
    """Return which labels are not the true ones, bool [n]."""
    true = split.labels if split.true_labels is None else split.true_labels
    return split.labels != true


def num_wrong(split: Split) -> int:
    """Return how many labels are not the true ones."""
    return int(is_wrong(split).sum())
