"""The study's claims: every answer, from hand-made rows."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from pipelines.evaluation.scores import Scores
from pipelines.experiments.study.answers.claims import (
    BASELINES,
    CONTENDER,
    DEPTHS,
    FAILS,
    HOLDS,
    NOT_RUN,
    UNDECIDED,
    Claim,
    answer_claims,
    interval_test,
    overall,
    rate_drops,
)
from pipelines.experiments.study.answers.pairs import pair_rows
from pipelines.results import Row
from tests.unit.experiments.study.rows import CURVE_RATES, comparison_row, curve_rows


def claims(
    accuracies: dict[str, tuple[float | None, ...]], curves: list[Row] | None = None
) -> dict[str, Claim]:
    rows = [
        comparison_row(model, seed, value)
        for model, values in accuracies.items()
        for seed, value in enumerate(values, start=1)
    ]
    return {claim.key: claim for claim in answer_claims(rows, curves or [], [], {})}


def scores(num_right: int, num_images: int = 100) -> Scores:
    probabilities = np.tile((0.1, 0.9), (num_images, 1))
    probabilities[:num_right] = (0.9, 0.1)
    return Scores(probabilities, np.zeros(num_images), np.zeros(num_images, dtype=np.int64))


def one_seed_claim(num_right: tuple[int, int, int]) -> Claim:
    rows = [comparison_row(model, 1, right / 100) for model, right in zip(DEPTHS, num_right, strict=True)]
    seen = {model: {1: scores(right)} for model, right in zip(DEPTHS, num_right, strict=True)}
    return answer_claims(rows, [], [], seen)[0]


def test_the_interval_agrees_with_the_t_test() -> None:
    values = [0.010, 0.013, 0.004, 0.009]
    row = interval_test("x", values)
    expected = ttest_1samp(values, 0.0).confidence_interval(0.95)
    # Both evaluate the same closed form in float64.
    assert row["difference_low"] == pytest.approx(expected.low, rel=1e-9)
    assert row["difference_high"] == pytest.approx(expected.high, rel=1e-9)


@pytest.mark.parametrize(
    ("differences", "answer"),
    [
        ([0.010, 0.012, 0.011], HOLDS),
        ([-0.010, -0.012, -0.011], FAILS),
        ([-0.010, 0.012, 0.001], UNDECIDED),
        ([0.01, 0.01, 0.01], UNDECIDED),  # no spread, no interval
        ([0.3 - 0.2, 0.1, 0.2 - 0.1], UNDECIDED),  # equal up to rounding
        ([0.01], UNDECIDED),
        ([], UNDECIDED),
    ],
)
def test_an_interval_decides(differences: list[float], answer: str) -> None:
    assert interval_test("x", differences)["answer"] == answer


def test_a_claim_needs_all_its_tests() -> None:
    assert overall([HOLDS, HOLDS]) == HOLDS
    assert overall([HOLDS, UNDECIDED]) == UNDECIDED
    assert overall([HOLDS, UNDECIDED, FAILS]) == FAILS


def test_deeper_is_answered_by_pairs_of_seeds() -> None:
    rising = dict(zip(DEPTHS, [(0.90, 0.91, 0.90), (0.92, 0.935, 0.925), (0.95, 0.96, 0.951)], strict=True))
    deeper = claims(rising)["deeper"]
    assert deeper.answer == HOLDS
    assert [test["test"] for test in deeper.tests] == [
        "densenet100 over densenet50",
        "densenet200 over densenet100",
    ]
    falling = dict(zip(DEPTHS, reversed(rising.values()), strict=True))
    assert claims(falling)["deeper"].answer == FAILS


def test_one_seed_is_answered_by_mcnemar_with_holm() -> None:
    # 20 images that only the deeper one gets right: p = 2 * 0.5^20, times 2 tests at most.
    assert one_seed_claim((50, 70, 90)).answer == HOLDS
    assert one_seed_claim((90, 70, 50)).answer == FAILS
    # 6 images: p = 2 * 0.5^6 = 0.031 alone, but twice that as the smaller of two equal p-values.
    claim = one_seed_claim((50, 56, 62))
    assert [test["p_value"] for test in claim.tests] == pytest.approx([0.0625, 0.0625])
    assert claim.answer == UNDECIDED


def test_pairs_are_corrected_within_each_seed() -> None:
    right = {"a": (50, 70, 50), "b": (56, 60, 50), "c": (62, None, 50)}
    rows = [
        comparison_row(DEPTHS[0], seed, None if number is None else number / 100) | {"model": model}
        for model, numbers in right.items()
        for seed, number in enumerate(numbers, start=1)
    ]
    seen = {
        model: {seed: scores(number) for seed, number in enumerate(numbers, start=1) if number is not None}
        for model, numbers in right.items()
    }
    first, _, last = pair_rows("digits", rows, seen)
    # a, b: 6 images alone (p = 2 * 0.5^6, of 3 pairs the second smallest: times 2), 10 in the only pair of seed 2,
    # none with seed 3. c diverged with seed 2.
    assert first["p_values_holm"] == pytest.approx([2 * 2 * 0.5**6, 2 * 0.5**10, 1.0])
    assert (first["num_first_better"], first["num_second_better"]) == (1, 0)
    assert (first["seeds"], last["seeds"]) == ([1, 2, 3], [1, 3])
    alone = pair_rows("digits", [row for row in rows if row["seed"] == 1], seen)[1]
    assert alone["difference"] == pytest.approx(-0.12)
    assert alone["difference_low"] is None
    assert (alone["num_first_better"], alone["num_second_better"]) == (0, 1)


def test_orientation_does_not_count() -> None:
    models = {CONTENDER: (0.95, 0.96, 0.951)} | dict.fromkeys(BASELINES, (0.92, 0.935, 0.925))
    claim = claims(models | {"resnet18": (0.99, 0.998, 0.99)})["baselines"]
    assert claim.answer == HOLDS
    assert claim.tests[-1]["answer"] == FAILS
    assert not claim.tests[-1]["counted"]


def test_an_untrained_model_leaves_a_claim_open_or_not_run() -> None:
    two = claims({"densenet50": (0.90, 0.91, 0.90), "densenet100": (0.92, 0.935, 0.925)})
    assert two["deeper"].answer == UNDECIDED
    assert two["deeper"].reason == "not trained: densenet200"
    assert two["baselines"].answer == NOT_RUN
    assert two["refines"].answer == NOT_RUN


def test_a_diverged_run_drops_its_seed() -> None:
    values = {"densenet50": (None, 0.91, 0.90), "densenet100": (0.99, 0.935, 0.93)}
    test = claims(values)["deeper"].tests[0]
    assert test["num_pairs"] == 2
    assert test["difference"] == pytest.approx(0.0275)


def test_drops_are_compared_with_the_epochs_around_them() -> None:
    drops = rate_drops(curve_rows("densenet50", 0.01))
    assert [drop["epoch"] for drop in drops] == [6, 9]
    assert drops[0]["accuracy_change"] == pytest.approx(0.035)
    assert drops[0]["accuracy_trend"] == pytest.approx(0.005)
    assert drops[0]["loss_change"] == pytest.approx(-0.035)


def test_a_drop_with_a_lost_score_is_left_out() -> None:
    rows = curve_rows("densenet50", 0.01)
    rows[8] |= {"validation_loss": None}  # epoch 9: the loss was not finite
    assert [drop["epoch"] for drop in rate_drops(rows)] == [6]


def test_refinement_holds_only_above_the_trend() -> None:
    curves = [row for model in DEPTHS for rate in CURVE_RATES for row in curve_rows(model, rate)]
    claim = claims({}, curves)["refines"]
    assert claim.answer == HOLDS
    # A value a depth: its runs at several rates are not independent.
    assert {test["num_pairs"] for test in claim.tests} == {len(DEPTHS)}
    for row in curves:
        # Rises by less each epoch, drop or not; each depth at a pace of its own.
        row["validation_accuracy"] = 1 - (0.5 + 0.01 * DEPTHS.index(row["model"])) ** row["epoch"]
    answers = [test["answer"] for test in claims({}, curves)["refines"].tests]
    assert answers == [HOLDS, HOLDS, FAILS]
