"""LDCE's parts against slow loops, its mixture's posterior against its formula, and known wrong labels found."""

import builtins
from typing import Any

import numpy as np
import pytest

from pipelines.errors import UserError
from pipelines.evaluation.label_confidence import (
    Enhancement,
    clean_probability,
    confidences,
    enhanced,
    find_by_confident_learning,
    find_by_distribution,
    neighbour_graph,
    precision_recall,
)

GENERATOR = np.random.default_rng(0)
FEATURES = GENERATOR.normal(size=(12, 4))
PREDICTIONS = GENERATOR.dirichlet(np.ones(3), 12)


def slow_graph(features: Any, neighbours: int) -> Any:
    """The rows of the graph by a loop over all pairs."""
    count = len(features)
    graph = np.zeros((count, count))
    for one in range(count):
        cosines = {}
        for other in range(count):
            if other != one:
                norms = np.sqrt(sum(features[one] ** 2)) * np.sqrt(sum(features[other] ** 2))
                cosines[other] = sum(features[one] * features[other]) / norms
        nearest = sorted(cosines, key=cosines.__getitem__, reverse=True)[:neighbours]
        kept = {other: max(cosines[other], 0.0) for other in nearest}
        for other, cosine in kept.items():
            graph[one, other] = cosine / sum(kept.values()) if sum(kept.values()) else 1 / neighbours
    return graph


@pytest.mark.parametrize("neighbours", [1, 3, 20])
def test_the_graph_is_that_of_a_loop_over_all_pairs(neighbours: int) -> None:
    found = neighbour_graph(FEATURES, neighbours).toarray()
    assert found == pytest.approx(slow_graph(FEATURES, min(neighbours, 11)), abs=1e-12)
    assert found.sum(1) == pytest.approx(1)


def test_images_that_point_away_from_all_others_have_them_alike_as_neighbours() -> None:
    opposite = np.array([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.1]])
    assert neighbour_graph(opposite, 2).toarray()[0] == pytest.approx([0, 0.5, 0.5])


def test_enhancement_is_a_loop_over_images_classes_and_neighbours() -> None:
    graph = slow_graph(FEATURES, 3)
    expected = PREDICTIONS.copy()
    for _ in range(4):
        before = expected.copy()
        for image in range(12):
            for label in range(3):
                spread = sum(graph[image, other] * before[other, label] for other in range(12))
                expected[image, label] = 0.3 * spread + 0.7 * PREDICTIONS[image, label]
    found = enhanced(PREDICTIONS, neighbour_graph(FEATURES, 3), alpha=0.3, rounds=4)
    assert found == pytest.approx(expected, abs=1e-12)
    assert found.sum(1) == pytest.approx(1)


def test_confidence_is_the_labels_share_of_the_likeliest_one() -> None:
    found = confidences(np.array([[0.2, 0.6, 0.2], [0.5, 0.1, 0.4]]), np.array([0, 0]))
    assert found == pytest.approx([1 / 3, 1.0])


def test_the_posterior_is_that_of_the_mixture_that_a_slow_em_fits() -> None:
    generator = np.random.default_rng(1)
    values = np.concatenate([generator.normal(0.2, 0.1, 60), generator.normal(0.9, 0.05, 140)])
    weights, means, variances = [0.5, 0.5], [values.min(), values.max()], [values.var()] * 2

    def densities(value: float) -> list[float]:
        return [
            weights[k]
            * np.exp(-((value - means[k]) ** 2) / (2 * variances[k]))
            / np.sqrt(2 * np.pi * variances[k])
            for k in range(2)
        ]

    for _ in range(200):
        shares = np.array([np.array(densities(value)) / sum(densities(value)) for value in values])
        for k in range(2):
            total = shares[:, k].sum()
            weights[k], means[k] = total / len(values), (shares[:, k] * values).sum() / total
            variances[k] = (shares[:, k] * (values - means[k]) ** 2).sum() / total + 1e-4
    expected = [densities(value)[1] / sum(densities(value)) for value in values]
    # scikit-learn ends when the mean log-likelihood gains less than 1e-3 in a round.
    assert clean_probability(values) == pytest.approx(expected, abs=0.05)
    assert clean_probability(np.ones(5)).tolist() == [1] * 5


def make_labelled(num_images: int = 300, share: float = 0.3) -> dict[str, Any]:
    """Three clusters of features with good predictions, and labels of which some are wrong."""
    generator = np.random.default_rng(2)
    true = np.arange(num_images) % 3
    wrong = generator.random(num_images) < share
    features = 3 * np.eye(3)[true] + generator.normal(0, 0.5, (num_images, 3))
    predictions = 0.7 * np.eye(3)[true] + 0.3 * generator.dirichlet(np.ones(3), num_images)
    return {
        "labels": np.where(wrong, (true + 1) % 3, true),
        "wrong": wrong,
        "predictions": predictions,
        "features": features,
        "folds": generator.permutation(num_images) % 3,
    }


def test_both_methods_find_wrong_labels_where_the_predictions_are_good() -> None:
    data = make_labelled()
    how = Enhancement(neighbours=10, alpha=0.5, rounds=10)
    found = find_by_distribution(data["predictions"], data["features"], data["labels"], data["folds"], how)
    assert np.array_equal(found.noisy, data["wrong"])
    assert found.distribution.sum(1) == pytest.approx(1)
    assert np.array_equal(find_by_confident_learning(data["predictions"], data["labels"]), data["wrong"])


def test_the_graph_joins_images_of_a_fold_alone() -> None:
    """Features of another network, here turned around, change nothing."""
    data = make_labelled()
    how = Enhancement(neighbours=5, alpha=0.9, rounds=5)
    plain = find_by_distribution(data["predictions"], data["features"], data["labels"], data["folds"], how)
    turned = data["features"].copy()
    turned[data["folds"] == 1] = -turned[data["folds"] == 1]
    other = find_by_distribution(data["predictions"], turned, data["labels"], data["folds"], how)
    assert other.distribution == pytest.approx(plain.distribution, abs=1e-12)


def test_without_cleanlab_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.startswith("cleanlab"):
            raise ModuleNotFoundError("No module named 'cleanlab'")
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"needs the package cleanlab .*pip install cleanlab==2") as caught:
        find_by_confident_learning(PREDICTIONS, np.arange(12) % 3)
    assert "\n" not in str(caught.value)


def test_precision_and_recall() -> None:
    found, wrong = np.array([1, 1, 0, 0, 1], dtype=bool), np.array([1, 0, 1, 0, 0], dtype=bool)
    assert precision_recall(found, wrong) == (pytest.approx(1 / 3), pytest.approx(1 / 2))
    assert precision_recall(~found & found, wrong) == (None, 0.0)
    assert precision_recall(found, ~wrong & wrong) == (0.0, None)
