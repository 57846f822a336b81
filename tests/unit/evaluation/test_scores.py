from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import log_loss, roc_auc_score

from pipelines.evaluation.bootstrap import intervals, statistics_of
from pipelines.evaluation.comparison import compare_pairs, holm, summarise_seeds
from pipelines.evaluation.figures import corner_side
from pipelines.evaluation.roc import MACRO, MAX_POINTS, MICRO, Curve, rank_classes, rank_micro, roc_curves
from pipelines.evaluation.scores import Scores, calibration_error, confusion_matrix, scores_of


def make_scores(num_images: int = 200, num_classes: int = 4, skill: float = 1.5, seed: int = 0) -> Scores:
    """Return the scores of a classifier that is right more often than not, some of them equal."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_images) % num_classes
    logits = torch.randn(num_images, num_classes, generator=generator)
    logits[torch.arange(num_images), labels] += skill
    # Rounded, so that ties occur.
    return scores_of((logits * 4).round() / 4, labels)


def test_scores_of_logits() -> None:
    scores = make_scores()
    assert np.allclose(scores.probabilities.sum(1), 1, rtol=0, atol=1e-14)
    # float64 softmax and logarithm, averaged: a few roundings.
    assert scores.losses.mean() == pytest.approx(log_loss(scores.labels, scores.probabilities), abs=1e-12)
    assert np.array_equal(confusion_matrix(scores), sklearn_confusion(scores.labels, scores.predictions))
    assert confusion_matrix(scores).trace() == scores.correct.sum()


def test_an_extreme_logit_has_a_finite_loss() -> None:
    scores = scores_of(torch.tensor([[900.0, -900.0]]), torch.tensor([1]))
    assert scores.losses.tolist() == [1800.0]


def test_calibration_error_by_hand() -> None:
    # Confidences 0.9 (right), 0.8 (wrong), 0.6 (right), 0.6 (wrong); ten bins, so each lies on a border.
    rows = [[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.6, 0.4]]
    scores = Scores(np.array(rows), np.zeros(4), np.array([0, 1, 1, 1]))
    assert calibration_error(scores, 10) == pytest.approx((0.1 + 0.8 + abs(1.2 - 1)) / 4, abs=1e-15)


def reference_calibration(scores: Scores, num_bins: int) -> float:
    confidence, total = scores.probabilities.max(1), 0.0
    for index in range(num_bins):
        inside = (confidence > index / num_bins) & (confidence <= (index + 1) / num_bins)
        if inside.any():
            total += inside.sum() * abs(confidence[inside].mean() - scores.correct[inside].mean())
    return total / len(confidence)


@pytest.mark.parametrize("num_bins", [1, 7, 15])
def test_calibration_error_equals_a_loop_over_bins(num_bins: int) -> None:
    scores = make_scores()
    assert calibration_error(scores, num_bins) == pytest.approx(
        reference_calibration(scores, num_bins), abs=1e-12
    )


def test_areas_equal_scikit_learns() -> None:
    scores = make_scores()
    one_hot = np.eye(4)[scores.labels]
    generator = np.random.default_rng(0)
    for weights in (np.ones(200), generator.integers(0, 4, 200).astype(float)):
        for label, ranked in enumerate(rank_classes(scores)):
            expected = roc_auc_score(one_hot[:, label], scores.probabilities[:, label], sample_weight=weights)
            assert ranked.auc(weights[:, None])[0] == pytest.approx(expected, abs=1e-12)
        expected = roc_auc_score(
            one_hot.ravel(), scores.probabilities.ravel(), sample_weight=weights.repeat(4)
        )
        assert rank_micro(scores).auc(weights[:, None])[0] == pytest.approx(expected, abs=1e-12)


def test_area_without_positives_is_not_a_number() -> None:
    scores = make_scores()
    weights = (scores.labels != 0).astype(float)[:, None]
    assert np.isnan(rank_classes(scores)[0].auc(weights)[0])


def test_curves_have_their_areas_and_few_points() -> None:
    scores = make_scores(5000, 3, skill=0.7)
    curves = {curve.name: curve for curve in roc_curves(scores, ("a", "b", "c"))}
    assert list(curves) == ["a", "b", "c", MICRO, MACRO]
    assert curves[MACRO].auc == pytest.approx(np.mean([curves[name].auc for name in "abc"]), abs=1e-12)
    for curve in curves.values():
        assert len(curve.fpr) <= MAX_POINTS + 1
        assert (curve.fpr[0], curve.tpr[0], curve.fpr[-1], curve.tpr[-1]) == (0, 0, 1, 1)
        assert (np.diff(curve.fpr) >= 0).all()
        assert (np.diff(curve.tpr) >= 0).all()
        # Between two kept points a monotone curve stays in a box whose sides add up to 2 / 400: in all, the
        # areas differ by at most half of the largest side.
        assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(curve.auc, abs=1 / MAX_POINTS)


def test_weights_of_one_give_the_metrics_themselves() -> None:
    scores = make_scores()
    values = {name: float(of(np.ones((200, 1)))[0]) for name, of in statistics_of(scores).items()}
    assert values["test_accuracy"] == scores.correct.mean()
    assert values["test_loss"] == pytest.approx(scores.losses.mean(), abs=1e-14)
    expected = roc_auc_score(scores.labels, scores.probabilities, multi_class="ovr", average="macro")
    assert values["auc_macro"] == pytest.approx(expected, abs=1e-12)


def test_intervals() -> None:
    scores = make_scores(600)
    statistics = statistics_of(scores)
    bounds = intervals(scores, statistics, 2000, 0.95, seed=0)
    for name, of in statistics.items():
        assert bounds[name][0] < of(np.ones((600, 1)))[0] < bounds[name][1]
    accuracy = scores.correct.mean()
    half = 1.96 * np.sqrt(accuracy * (1 - accuracy) / 600)
    low, high = bounds["test_accuracy"]
    # Accuracy is a mean, so its interval is near the normal one. A 2.5 % quantile of 2000 draws has a standard
    # error of sqrt(0.025 * 0.975 / 2000) / density = 0.06 standard deviations; 4 of them, on half widths of 1.96.
    assert (high - low) / 2 == pytest.approx(half, rel=4 * 0.06 / 1.96)
    assert bounds == intervals(scores, statistics, 2000, 0.95, seed=0)
    assert bounds != intervals(scores, statistics, 2000, 0.95, seed=1)
    narrower = intervals(scores, statistics, 2000, 0.5, seed=0)["test_accuracy"]
    assert low < narrower[0] < narrower[1] < high


def test_intervals_do_not_depend_on_the_chunk(monkeypatch: Any) -> None:
    scores = make_scores(60)
    statistics = statistics_of(scores)
    whole = intervals(scores, statistics, 50, 0.9, seed=0)
    monkeypatch.setattr("pipelines.evaluation.bootstrap._CHUNK", 7)
    chunked = intervals(scores, statistics, 50, 0.9, seed=0)
    for name, bounds in whole.items():
        # The matrix products may add up in another order: some roundings of 2^-53.
        assert chunked[name] == pytest.approx(bounds, rel=1e-13)


def scores_with(correct: list[bool]) -> Scores:
    probabilities = np.array([[0.9, 0.1] if right else [0.1, 0.9] for right in correct])
    return Scores(probabilities, np.zeros(len(correct)), np.zeros(len(correct), dtype=np.int64))


def test_paired_tests_by_hand() -> None:
    # 8 images only the first gets right, 1 only the second: P(X <= 1) + P(X >= 8) of Binomial(9, 1/2) = 20 / 512.
    first = scores_with([True] * 8 + [False] + [True] * 5 + [False] * 6)
    second = scores_with([False] * 8 + [True] + [True] * 5 + [False] * 6)
    row, same, other = compare_pairs({"a": first, "b": second, "c": first})
    assert (row["first"], row["second"], row["only_first_correct"], row["only_second_correct"]) == (
        "a",
        "b",
        8,
        1,
    )
    assert row["p_value"] == pytest.approx(20 / 512, abs=1e-12)
    assert row["accuracy_difference"] == 7 / 20
    assert (same["second"], same["p_value"]) == ("c", 1.0)
    assert (row["p_value_holm"], other["p_value_holm"]) == pytest.approx((60 / 512, 60 / 512), abs=1e-12)


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.03, 0.04 times 3, 2, 1 is 0.03, 0.06, 0.04; made ascending.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []
    assert holm([0.7, 0.8]) == [1.0, 1.0]


def test_summary_over_seeds() -> None:
    metrics = ("test_loss", "auc_macro", "auc_micro", "calibration_error", "train_seconds")
    rows = [
        {"model": model, "seed": seed, "test_accuracy": accuracy, **dict.fromkeys(metrics, 1.0)}
        for model, seed, accuracy in (("a", 1, 0.5), ("b", 1, 0.25), ("a", 2, 0.75), ("a", 3, 1.0))
    ]
    first, second = summarise_seeds(rows)
    assert (first["model"], first["num_seeds"], first["seeds"]) == ("a", 3, [1, 2, 3])
    assert (first["test_accuracy_mean"], first["test_accuracy_std"]) == (0.75, 0.25)
    assert (second["test_accuracy_mean"], second["test_accuracy_std"]) == (0.25, None)


def test_the_enlarged_corner_holds_the_bend_of_the_curves() -> None:
    def bend(rate: float) -> Curve:
        return Curve("x", np.array([0, rate, 1]), np.array([0, 1 - rate, 1]), 0.9)

    assert corner_side([bend(0.01)]) == 0.05
    assert corner_side([bend(0.01), bend(0.07)]) == 0.2
    assert corner_side([bend(0.4)]) == 0.5
