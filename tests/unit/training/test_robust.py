"""Objectives for noisy labels, each against its formula written out image by image in float64."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from pipelines.data.config import LabelNoiseConfig
from pipelines.data.label_noise import transition_matrix
from pipelines.training import StepFacts
from pipelines.training.robust import (
    CoTeaching,
    OutOfFold,
    WeightedTargets,
    estimate_transitions,
    forward_corrected,
    generalised_cross_entropy,
)

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(6, 3, generator=GENERATOR)
LABELS = torch.tensor([0, 2, 1, 1, 0, 2])
NONE = torch.empty(6, 0)
CLOSE = {"rel": 1e-5}  # float32 of a dozen terms


def probabilities(logits: torch.Tensor) -> np.ndarray:  # type: ignore[type-arg]
    powers = np.exp(logits.double().numpy())
    return np.asarray(powers / powers.sum(1, keepdims=True))


def facts(indices: torch.Tensor, epoch: int = 0) -> StepFacts:
    return StepFacts(indices=indices, epoch=epoch)


@pytest.mark.parametrize("q", [0.1, 0.7, 1.0])
def test_generalised_cross_entropy_is_its_formula(q: float) -> None:
    own = [row[label] for row, label in zip(probabilities(LOGITS), LABELS.tolist(), strict=True)]
    expected = sum((1 - p**q) / q for p in own) / 6
    assert float(generalised_cross_entropy(LOGITS, LABELS, q)) == pytest.approx(expected, **CLOSE)


def test_generalised_cross_entropy_goes_from_cross_entropy_to_the_absolute_error() -> None:
    near = float(generalised_cross_entropy(LOGITS, LABELS, 1e-4))
    # The next term of the series is q / 2 times the mean square of -log p, some 1e-4.
    assert near == pytest.approx(float(functional.cross_entropy(LOGITS, LABELS)), rel=1e-3)
    certain = torch.tensor([[200.0, 0.0], [200.0, 0.0]])
    assert float(generalised_cross_entropy(certain, torch.tensor([0, 1]), 1.0)) == pytest.approx(0.5)


def test_forward_correction_is_its_formula() -> None:
    noise = transition_matrix(LabelNoiseConfig(kind="pair", percent=30), 3)
    total = 0.0
    for row, label in zip(probabilities(LOGITS), LABELS.tolist(), strict=True):
        total -= math.log(sum(row[true] * noise[true, label] for true in range(3)))
    found = forward_corrected(LOGITS, LABELS, torch.from_numpy(noise).float())
    assert float(found) == pytest.approx(total / 6, **CLOSE)
    # Without noise it is the cross-entropy; a label that cannot be stays finite.
    assert float(forward_corrected(LOGITS, LABELS, torch.eye(3))) == pytest.approx(
        float(functional.cross_entropy(LOGITS, LABELS)), **CLOSE
    )
    impossible = forward_corrected(torch.tensor([[200.0, 0.0]]), torch.tensor([1]), torch.eye(2))
    assert torch.isfinite(impossible)


def test_transitions_are_read_from_the_image_at_the_quantile_of_each_class() -> None:
    """Predictions of which row i of the true matrix is the surest of class i, but for 3 % outliers."""
    truth = transition_matrix(LabelNoiseConfig(kind="symmetric", percent=30), 3)
    generator = np.random.default_rng(0)
    mixtures = generator.dirichlet(np.ones(3), 97) @ truth
    mixtures[:3] = truth
    outliers = np.eye(3)  # sure of one class: the maximum would be one of these
    found = estimate_transitions(torch.from_numpy(np.concatenate([mixtures, outliers])))
    assert not np.allclose(found, np.eye(3), atol=0.2)
    order = np.sort(np.concatenate([mixtures, outliers]), axis=0)
    for row in range(3):
        assert float(found[row, row]) == pytest.approx(order[97, row])
        assert float(found[row].sum()) == pytest.approx(1)
    assert np.abs(found.numpy() - truth).max() < 0.1


@pytest.mark.parametrize(("epoch", "kept"), [(0, 6), (2, 4), (4, 3), (9, 3)])
def test_co_teaching_learns_from_what_the_other_network_finds_easy(epoch: int, kept: int) -> None:
    both = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))
    losses = [[], []]  # type: ignore[var-annotated]
    for member, logits in enumerate((both[:, :3], both[:, 3:])):
        for row, label in zip(probabilities(logits), LABELS.tolist(), strict=True):
            losses[member].append(-math.log(row[label]))
    expected = 0.0
    for own, other in ((0, 1), (1, 0)):
        chosen = sorted(range(6), key=lambda image, other=other: losses[other][image])[:kept]
        expected += sum(losses[own][image] for image in chosen) / kept
    objective = CoTeaching(noise_rate=0.5, gradual_epochs=4)
    found = objective(both, LABELS, NONE, facts(torch.arange(6), epoch))
    assert float(found) == pytest.approx(expected, **CLOSE)


def test_a_member_learns_nothing_of_its_own_fold() -> None:
    folds = torch.tensor([0, 1, 0, 1, 1, 0, 0, 1, 1])
    indices = torch.tensor([8, 0, 3, 5, 2, 7])  # folds 1 0 1 0 0 1
    both = torch.randn(6, 6, generator=torch.Generator().manual_seed(1), requires_grad=True)
    found = OutOfFold(folds=folds)(both, LABELS, NONE, facts(indices))
    expected = sum(
        float(functional.cross_entropy(logits[places], LABELS[places]))
        for logits, places in ((both.detach()[:, :3], [0, 2, 5]), (both.detach()[:, 3:], [1, 3, 4]))
    )
    assert found.item() == pytest.approx(expected, **CLOSE)
    found.backward()
    assert bool((both.grad[[1, 3, 4], :3] == 0).all())
    assert bool((both.grad[[0, 2, 5], 3:] == 0).all())
    # A batch of one fold leaves its member as it is.
    alone = OutOfFold(folds=folds)(both[:2], LABELS[:2], NONE, facts(torch.tensor([0, 2])))
    assert alone.item() == pytest.approx(float(functional.cross_entropy(both[:2, 3:], LABELS[:2])), **CLOSE)


def test_weighted_targets_are_their_formula() -> None:
    generator = np.random.default_rng(0)
    targets, weights = generator.dirichlet(np.ones(3), 9), generator.random(9)
    weights[4] = 0
    indices = [8, 0, 3, 5, 4, 7]
    total = 0.0
    for row, index in zip(probabilities(LOGITS), indices, strict=True):
        total -= weights[index] * sum(targets[index, k] * math.log(row[k]) for k in range(3))
    objective = WeightedTargets(
        targets=torch.from_numpy(targets).float(), weights=torch.from_numpy(weights).float()
    )
    found = objective(LOGITS, LABELS, NONE, facts(torch.tensor(indices)))
    assert float(found) == pytest.approx(total / weights[indices].sum(), **CLOSE)
    nothing = objective(LOGITS[:1], LABELS[:1], NONE, facts(torch.tensor([4])))
    assert float(nothing) == 0.0
