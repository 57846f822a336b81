"""The accuracy test against cases worked out by hand, and its error rate by simulation."""

import math

import numpy as np
import pytest

from pipelines.experiments.convergence.equivalence import paired_equivalence, parity_rows
from pipelines.results import Row


def test_interval_and_p_value_of_a_case_by_hand() -> None:
    # Mean 0.1, standard deviation sqrt(0.025), standard error sqrt(0.025 / 5) = 0.070711; t(4) = 2.776445 at 97.5 %.
    result = paired_equivalence([-0.1, 0.0, 0.1, 0.2, 0.3], margin=0.5)
    error = math.sqrt(0.025 / 5)
    assert result["difference_points"] == pytest.approx(0.1)
    assert result["difference_high_points"] == pytest.approx(0.1 + 2.776445 * error, rel=1e-6)
    assert result["difference_low_points"] == pytest.approx(0.1 - 2.776445 * error, rel=1e-6)
    # t = 0.4 / 0.070711 = 5.656854 with 4 degrees of freedom: one-sided p = 0.002406 (tables: 0.0024).
    assert result["equivalence_p_value"] == pytest.approx(0.0024, abs=5e-5)
    assert result["equivalent"]
    # The other side: t = 0.6 / 0.070711 = 8.485 with 4 degrees of freedom, one-sided p = 0.00053.
    assert result["not_worse_p_value"] == pytest.approx(0.00053, abs=1e-5)


@pytest.mark.parametrize("mean", [-0.7, 0.7])
def test_a_difference_beyond_the_margin_is_not_equivalent(mean: float) -> None:
    result = paired_equivalence([mean - 0.1, mean, mean + 0.1], margin=0.5)
    assert not result["equivalent"]
    assert result["equivalence_p_value"] > 0.5
    assert result["not_worse"] is (mean > 0), "a method may be better than the reference"


def test_few_noisy_runs_decide_nothing() -> None:
    assert not paired_equivalence([-2.0, 2.0, 0.0], margin=0.5)["equivalent"]


@pytest.mark.parametrize("differences", [[0.0, 0.0], [0.5] * 3, [100 * (0.9 - 0.6), 100 * (0.6 - 0.3)]])
def test_equal_differences_decide_nothing(differences: list[float]) -> None:
    """Two runs without a difference are no evidence that there is none."""
    result = paired_equivalence(differences, margin=0.7)
    assert result["difference_points"] == pytest.approx(differences[0])
    undecided = ("equivalent", "not_worse", "equivalence_p_value", "not_worse_p_value")
    assert [result[key] for key in undecided] == [None] * 4
    assert (result["difference_low_points"], result["difference_high_points"]) == (None, None)


def test_methods_at_the_margin_pass_in_at_most_one_case_of_twenty() -> None:
    generator = np.random.default_rng(0)
    draws = 2000
    passed = sum(
        paired_equivalence(generator.normal(0.5, 0.3, 8).tolist(), margin=0.5)["equivalent"]
        for _ in range(draws)
    )
    # Level 0.05; four standard errors of the simulated rate.
    assert passed / draws <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / draws)


def run_row(method: str, seed: int, epoch: int, accuracy: float) -> Row:
    facts = {"model": "m", "workers": 2, "steps": 8 * epoch, "global_batch_size": 128}
    facts |= {"commit": "c", "device": "d", "seconds": 2.0 * epoch}
    return {**facts, "method": method, "seed": seed, "epoch": epoch, "test_accuracy": accuracy}


def test_rows_pair_the_last_epochs_by_seed() -> None:
    runs = [run_row("sdp", 1, 1, 0.1), run_row("sdp", 1, 2, 0.90), run_row("sdp", 2, 2, 0.95)]
    runs += [run_row("gq4", 2, 2, 0.96), run_row("gq4", 1, 2, 0.92), run_row("gq4", 1, 1, 0.2)]
    (row,) = parity_rows(runs, "sdp", 0.5)
    assert (row["method"], row["reference"], row["num_seeds"]) == ("gq4", "sdp", 2)
    assert row["difference_points"] == pytest.approx(1.5)
    assert row["reference_accuracy_mean"] == pytest.approx(0.925)
    assert (row["epochs"], row["steps"], row["train_seconds_per_seed"]) == (2, 16, 4.0)
