"""Accuracy against costs: which networks no other beats, against brute force, and what the picture names."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from pipelines.experiments.study.answers.pareto import (
    COSTS,
    Point,
    draw_pareto,
    look,
    pareto_front,
    points_of,
)
from pipelines.experiments.study.answers.tables import ablation_rows, comparison_rows
from tests.unit.experiments.study import rows as written
from tests.unit.experiments.study.rows import ACCURACY, comparison_row

STEPS = written.step_rows()


def point(name: str, cost: float | None, accuracy: float) -> Point:
    return Point(
        name, False, {"num_parameters": cost, "test_accuracy_mean": accuracy, "test_accuracy_std": None}
    )


def test_the_front_has_what_no_other_beats_in_both() -> None:
    points = [
        point("large", 9, 0.9),
        point("small", 1, 0.5),
        point("beaten", 5, 0.6),
        point("middle", 4, 0.7),
        point("as dear, worse", 9, 0.8),
        point("unknown", None, 1.0),
    ]
    assert [one.name for one in pareto_front(points, "num_parameters")] == ["small", "middle", "large"]


def test_equal_networks_beat_each_other_not() -> None:
    points = [point("a", 1, 0.5), point("b", 1, 0.5)]
    assert len(pareto_front(points, "num_parameters")) == 2


@pytest.mark.parametrize("seed", range(5))
def test_the_front_by_brute_force(seed: int) -> None:
    generator = np.random.default_rng(seed)
    points = [
        point(str(index), float(cost), float(accuracy) / 8)
        for index, (cost, accuracy) in enumerate(generator.integers(0, 8, (30, 2)))
    ]
    beaten = {
        one.name
        for one, other in itertools.permutations(points, 2)
        if (other.row["num_parameters"], -other.accuracy) != (one.row["num_parameters"], -one.accuracy)
        and other.row["num_parameters"] <= one.row["num_parameters"]
        and other.accuracy >= one.accuracy
    }
    front = pareto_front(points, "num_parameters")
    assert {one.name for one in front} == {one.name for one in points} - beaten
    costs = [one.row["num_parameters"] for one in front]
    assert costs == sorted(costs)


def test_the_picture_names_every_network_and_every_cost(tmp_path: Path) -> None:
    rows = [
        comparison_row(model, seed, value)
        for model, values in ACCURACY.items()
        for seed, value in enumerate(values[:1] if model == "resnet18" else values, start=1)
    ]
    points = points_of(comparison_rows(rows, STEPS), ablation_rows(written.ablation_rows(), STEPS))
    draw_pareto(points, tmp_path / "pareto.svg")
    text = (tmp_path / "pareto.svg").read_text(encoding="utf-8")
    for name in (
        *ACCURACY,
        *COSTS.values(),
        "densenet100: discard_rate 0.25 by layer",
        "no other is better in both",
    ):
        assert f">{name}<" in text


def test_no_two_of_many_networks_look_alike() -> None:
    looks = [tuple(look(index, point(str(index), 1, 0.5)).values()) for index in range(40)]
    assert len(set(looks)) == len(looks)


def test_what_no_row_has_is_no_panel(tmp_path: Path) -> None:
    rows = [comparison_row(model, 1, 0.5) for model in ACCURACY]
    for row in rows:
        del row["peak_memory_bytes"]  # as in rows of earlier versions
    draw_pareto(points_of(comparison_rows(rows, STEPS), []), tmp_path / "pareto.svg")
    text = (tmp_path / "pareto.svg").read_text(encoding="utf-8")
    assert [label for label in COSTS.values() if f">{label}<" not in text] == [COSTS["peak_memory_bytes"]]
