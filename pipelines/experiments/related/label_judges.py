"""Training labels judged before training: by the predictions of networks that have not seen the image."""

from dataclasses import dataclass

import numpy as np

from pipelines.data import PreparedData
from pipelines.evaluation.label_confidence import (
    Enhancement,
    Floats,
    Labels,
    Mask,
    find_by_confident_learning,
    find_by_distribution,
)
from pipelines.models.members import Members
from pipelines.training import predict_features

BATCH_SIZE = 256
JUDGES = ("ldce", "ldce_dropped", "confident")
"""LDCE, with a label distribution for each label called wrong or without those images, and confident learning."""


def folds_of(data: PreparedData, seed: int, number: int) -> Labels:
    """Return a fold for every training image, int64 [n], 0 to number - 1, the same for a seed; sizes are even."""
    generator = np.random.default_rng((seed, number))
    return generator.permutation(len(data.train)) % number


def held_out(members: Members, data: PreparedData, folds: Labels) -> tuple[Floats, Floats]:
    """Return probabilities [n, k] and penultimate features [n, d] of the training images.

    Each by the member that was not trained on the image, as `folds` [n] says.
    """
    predictions, features = [], []
    for member in members.members:
        read, logits = predict_features(member, data.train, data, batch_size=BATCH_SIZE)
        predictions.append(logits.double().softmax(1).numpy())
        features.append(read.double().numpy())
    places = np.arange(len(folds))
    return np.stack(predictions)[folds, places], np.stack(features)[folds, places]


@dataclass(frozen=True)
class Judgement:
    """What is thought of the training labels before training."""

    wrong: Mask
    """Whether a label is called wrong, [n]."""
    targets: Floats
    """What is learnt of each image, [n, k]."""
    weights: Floats
    """How much it counts, [n]."""


def judge_labels(
    members: Members, data: PreparedData, seed: int, judge: str, num_folds: int, how: Enhancement
) -> Judgement:
    """Judge the training labels by one of `JUDGES`.

    Args:
        members: networks that were trained with the objective of `cross_validation` for this seed.
        data: what they were trained on.
        seed: that of the run, which the folds follow from.
        judge: a name from `JUDGES`.
        num_folds: number of members.
        how: the label enhancement of LDCE.

    UserError where cleanlab is needed and not installed.
    """
    folds = folds_of(data, seed, num_folds)
    predictions, features = held_out(members, data, folds)
    labels = data.train.labels.numpy()
    targets = np.eye(data.num_classes)[labels]
    if judge == "confident":
        wrong = find_by_confident_learning(predictions, labels)
        return Judgement(wrong, targets, np.where(wrong, 0.0, 1.0))
    found = find_by_distribution(predictions, features, labels, folds, how)
    if judge == "ldce_dropped":
        return Judgement(found.noisy, targets, np.where(found.noisy, 0.0, 1.0))
    targets = np.where(found.noisy[:, None], found.distribution, targets)
    return Judgement(found.noisy, targets, np.where(found.noisy, found.distribution.max(1), 1.0))
