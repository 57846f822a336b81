"""How the comparisons of a system are answered, on rows made by hand."""

import pytest

from pipelines.experiments.related.answers.claims import claim_rows, comparison_row
from pipelines.experiments.related.answers.tables import statistics_of
from pipelines.experiments.related.system import Comparison
from pipelines.results import Row
from tests.unit.experiments.related.fake import Fake

T_2 = 4.302652729911275  # 97.5 % quantile of Student's t with 2 degrees of freedom


def rows_of(**accuracies: list[float | None]) -> list[Row]:
    return [
        {"experiment": "run", "variant": variant, "seed": seed, "test_accuracy": value, "data": "digits"}
        for variant, values in accuracies.items()
        for seed, value in enumerate(values)
    ]


def test_a_difference_is_tested_by_the_t_interval_of_its_pairs() -> None:
    rows = rows_of(
        new=[0.92, 0.93, 0.97], old=[0.90, 0.90, 0.93]
    )  # differences 0.02, 0.03, 0.04: deviation 0.01
    row = comparison_row(Comparison(first="new", second="old"), rows)
    half = T_2 * 0.01 / 3**0.5
    assert (row["difference"], row["num_pairs"]) == (pytest.approx(0.03), 3)
    assert (row["difference_low"], row["difference_high"]) == (
        pytest.approx(0.03 - half),
        pytest.approx(0.03 + half),
    )
    assert row["answer"] == "holds"


@pytest.mark.parametrize(
    ("margin", "answer"), [(0.0, "does not hold"), (0.03, "not decided"), (0.08, "holds")]
)
def test_a_margin_is_what_may_be_lost(margin: float, answer: str) -> None:
    # -0.02, -0.03, -0.04: the interval is -0.03 -+ 0.0248
    rows = rows_of(new=[0.90, 0.90, 0.93], old=[0.92, 0.93, 0.97])
    assert comparison_row(Comparison(first="new", second="old", margin=margin), rows)["answer"] == answer


def test_seeds_that_diverged_make_no_pair_and_no_pairs_no_answer() -> None:
    pair = Comparison(first="new", second="old")
    assert comparison_row(pair, rows_of(new=[0.9, None, 0.8], old=[0.7, 0.7, None]))["num_pairs"] == 1
    assert comparison_row(pair, rows_of(new=[0.9, 0.9, 0.8]))["answer"] == "not run"


def test_a_claim_has_a_row_and_one_for_each_comparison() -> None:
    system = Fake("fake", Fake.Options())
    claim, test = claim_rows(system, "digits", rows_of(plain=[0.5, 0.5, 0.6], grown=[0.6, 0.5, 0.6]))
    assert (claim["test"], claim["answer"], claim["reason"]) == (None, "holds", None)
    assert (test["test"], test["margin"], test["claim_answer"]) == ("grown over plain", 0.5, "holds")
    claim, _ = claim_rows(system, "digits", [])
    assert (claim["answer"], claim["reason"]) == ("not run", "its variants were not trained")


def test_the_interval_of_a_mean_is_students() -> None:
    row = statistics_of("test_accuracy", [0.78, 0.8, 0.82])
    half = T_2 * 0.02 / 3**0.5
    assert row["test_accuracy_mean"] == pytest.approx(0.8)
    assert row["test_accuracy_high"] - row["test_accuracy_mean"] == pytest.approx(half)
    assert statistics_of("test_accuracy", [0.9, 1.0])["test_accuracy_high"] == 1.0
    assert statistics_of("test_accuracy", [0.7])["test_accuracy_low"] is None
