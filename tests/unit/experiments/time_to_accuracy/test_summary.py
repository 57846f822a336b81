"""Seconds and bytes to the reference's accuracy, from curves written by hand."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.config import load_section
from pipelines.config.validate import FieldError
from pipelines.experiments.time_to_accuracy import TimeToAccuracyConfig
from pipelines.experiments.time_to_accuracy.config import TimedModel
from pipelines.experiments.time_to_accuracy.job import load_job
from pipelines.experiments.time_to_accuracy.summary import (
    Runs,
    compare,
    first_reaching,
    mean_curves,
    summarise,
)
from pipelines.report.inputs import Inputs
from pipelines.report.sections.time_to_accuracy import section
from pipelines.results import Row, read_json, write_json
from tests.imports import ROOT

T_2 = 4.302652729911275
"""The 97.5 % quantile of Student's t with two degrees of freedom, from a table."""


def curve(method: str, seed: int, accuracies: list[float], epoch_seconds: float) -> list[Row]:
    facts = {"model": "m", "method": method, "workers": 2, "seed": seed, "global_batch_size": 128}
    facts |= {"train_loss": 1.0, "test_loss": 1.0, "device": "d", "commit": "c"}
    return [
        facts
        | {"epoch": epoch, "steps": 10 * epoch, "seconds": epoch_seconds * epoch}
        | {"sent_megabytes": 5.0 * epoch, "test_accuracy": accuracy}
        for epoch, accuracy in enumerate(accuracies, start=1)
    ]


@pytest.fixture
def runs() -> Runs:
    """The reference ends with 60, 61 and 62 %; the fast method comes within a point of it, the poor one does not."""
    runs: Runs = {}
    for seed, end in ((1, 0.60), (2, 0.61), (3, 0.62)):
        runs["sdp", seed] = curve("sdp", seed, [0.3, end - 0.02, end], 100.0)
    for seed, end, seconds in ((1, 0.595, 20.0), (2, 0.604, 25.0), (3, 0.63, 40.0)):
        runs["fast", seed] = curve("fast", seed, [0.3, end, end], seconds)
    for seed in (1, 2, 3):
        runs["poor", seed] = curve("poor", seed, [0.1, 0.2, 0.6 if seed == 1 else 0.3], 10.0)
    return runs


def test_the_first_epoch_that_is_good_enough_counts() -> None:
    epochs = curve("sdp", 1, [0.3, 0.5, 0.4, 0.6], 1.0)
    found = [first_reaching(epochs, accuracy) for accuracy in (0.2, 0.5, 0.55, 0.61)]
    assert [row and row["epoch"] for row in found] == [1, 2, 4, None]


def test_times_are_paired_by_seed(runs: Runs) -> None:
    reference, fast, _ = compare(runs, "sdp", 1.0)
    assert (reference["num_reached"], reference["speed_up"], reference["difference_points"]) == (3, 1.0, 0.0)
    # Equal times have no spread, so no interval.
    assert reference["speed_up_low"] is reference["speed_up_high"] is None
    assert reference["seconds_to_accuracy_mean"] == 300.0
    # Two epochs of 20, 25 and 40 s against three of 100 s.
    logarithms = [math.log(300 / seconds) for seconds in (40, 50, 80)]
    mean = sum(logarithms) / 3
    half = T_2 * math.sqrt(sum((value - mean) ** 2 for value in logarithms) / 2 / 3)
    assert fast["speed_up"] == pytest.approx(math.exp(mean))
    assert fast["speed_up_low"] == pytest.approx(math.exp(mean - half))
    assert fast["speed_up_high"] == pytest.approx(math.exp(mean + half))
    assert (fast["num_reached"], fast["megabytes_to_accuracy_mean"]) == (3, 10.0)
    assert fast["seconds_to_accuracy_mean"] == pytest.approx(170 / 3)
    assert fast["difference_points"] == pytest.approx((-0.5 - 0.6 + 1.0) / 3)
    assert fast["difference_low_points"] < fast["difference_points"] < fast["difference_high_points"]


def test_where_a_seed_does_not_reach_it_there_is_no_time(runs: Runs) -> None:
    poor = compare(runs, "sdp", 1.0)[2]
    assert poor["num_reached"] == 1
    timed = [key for key in poor if key.startswith(("speed_up", "seconds_to", "megabytes_to"))]
    assert timed
    assert [poor[key] for key in timed] == [None] * len(timed)


def test_a_larger_margin_is_reached_sooner(runs: Runs) -> None:
    strict, loose = (compare(runs, "sdp", margin)[0] for margin in (0.0, 2.5))
    assert (strict["seconds_to_accuracy_mean"], loose["seconds_to_accuracy_mean"]) == (300.0, 200.0)


def test_the_curves_are_means_over_the_seeds(runs: Runs) -> None:
    rows = mean_curves(runs)
    assert [(row["method"], row["epoch"]) for row in rows] == [
        (method, epoch) for method in ("sdp", "fast", "poor") for epoch in (1, 2, 3)
    ]
    assert rows[2]["test_accuracy"] == pytest.approx(0.61)
    assert rows[5]["seconds"] == pytest.approx(3 * 85 / 3)


def test_the_page_and_the_report_show_what_was_measured(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results = Path("results/time_to_accuracy")
    for method in ("sdp", "fast", "poor"):
        rows = [row for (name, _), mine in runs.items() if name == method for row in mine]
        write_json(results / f"runs/m/{method}.json", rows)
    meta = {"checksum": "abc", "num_train": 8500, "num_test": 10000, "image_size_pixels": 16}
    write_json(Path("data/time_to_accuracy/meta.json"), meta)
    config = load_section(TimeToAccuracyConfig, "time_to_accuracy", ROOT / "params.yaml")
    models = {"m": TimedModel(epochs=3, global_batch_size=128, learning_rate=0.1)}
    summarise(replace(config, models=models, methods=("sdp", "fast", "poor"), seeds=(1, 2, 3)))
    rows = read_json(results / "time_to_accuracy.json")
    assert [(row["data"], row["link"], row["image_size_pixels"]) for row in rows] == [
        ("cifar10", "100mbit", 16)
    ] * 3
    page = (results / "time_to_accuracy.md").read_text()
    (line,) = [line for line in page.splitlines() if line.startswith("| m | poor ")]
    assert "| 1 of 3 | – | – | – |" in line
    assert "<svg" in (results / "curves_m.svg").read_text()
    shown = section(Inputs(Path("results")))
    assert shown.table is not None
    assert any("5.53×" in cell.text for row in shown.table.rows for cell in row)
    assert "8,500 training images of 16 pixels a side, 3 seeds, links of 100mbit" in shown.paragraphs[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": "gq8"}, "reference"),
        ({"link": "fast"}, "link"),
        ({"models": {}}, "models"),
        ({"margin_points": -1.0}, "margin_points"),
        ({"seeds": (1, 1)}, "seeds"),
        ({"cycle_milliseconds": 0.0}, "cycle_milliseconds"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    config = load_section(TimeToAccuracyConfig, "time_to_accuracy", ROOT / "params.yaml")
    with pytest.raises(FieldError, match=message):
        replace(config, **changes)  # type: ignore[arg-type]


def test_a_batch_is_shared_by_two() -> None:
    with pytest.raises(FieldError, match="a multiple of 2"):
        TimedModel(epochs=1, global_batch_size=129, learning_rate=0.1)


def test_the_rate_of_a_model_is_linear_in_the_batch_of_both_workers() -> None:
    with pytest.raises(FieldError, match="learning_rate"):
        TimedModel(epochs=1, global_batch_size=2, learning_rate=0.0)
    job = load_job("vgg16_bn", "sdp", ROOT / "params.yaml")
    recipe = job.recipe_of(3)
    assert recipe.batch_size == 256 // 2
    assert recipe.learning_rate == pytest.approx(0.03 * 256 / 64)  # 64: recipe.batch_size
