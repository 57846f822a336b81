"""What a target accuracy costs, against numbers worked out by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.speedup import SpeedupConfig
from pipelines.speedup.outlook import TARGET_FIGURES, draw_target
from pipelines.speedup.scaling import simulated_steps
from pipelines.speedup.simulator import IDEAL
from pipelines.speedup.target import BATCH_STEPS, CURVES, Curves, batch_trace, costs, steps_to, target_rows
from tests.unit.speedup.traces import make_trace

TRACE = make_trace()
CONFIG = SpeedupConfig(
    reference="sdp",
    links_mbit_per_second=(100.0, 1000.0),
    target_accuracy=0.9,
    price_per_worker_hour=3.6,
    price_per_gigabyte=10.0,
)


def curve(model: str, method: str, workers: int, *accuracies: float) -> list[dict[str, Any]]:
    return [
        {
            "model": model,
            "method": method,
            "workers": workers,
            "steps": 8 * epoch,
            "test_accuracy": accuracy,
            "commit": "c",
        }
        for epoch, accuracy in enumerate(accuracies, start=1)
    ]


def curves(folder: Path, *rows: list[dict[str, Any]]) -> Curves:
    path = folder / "curves.json"
    path.write_text(json.dumps({"global_batch_size": 16, "curves": [row for each in rows for row in each]}))
    return Curves.read(path)


STEPS = {"toy": {8: 0.08, 4: 0.04}}
"""A step of the toy takes 40 ms with 4 samples and 80 with 8."""


def test_a_target_is_reached_at_the_end_of_an_epoch() -> None:
    assert steps_to(curve("toy", "sdp", 2, 0.5, 0.9, 0.8, 0.95), 0.9) == 16
    assert steps_to(curve("toy", "sdp", 2, 0.5, 0.8), 0.9) is None


def test_a_smaller_batch_takes_as_much_less_as_was_recorded() -> None:
    half = batch_trace(TRACE, 4, STEPS["toy"])
    assert half.batch_size == 4
    assert half.step_seconds == pytest.approx(0.05)
    assert half.codecs == TRACE.codecs
    assert batch_trace(TRACE, 6, STEPS["toy"]).step_seconds == pytest.approx(0.075)


def test_costs_by_hand() -> None:
    # 16 steps of half a second by 4 workers that send 2 MB each: 8 s, 32 worker-seconds at 0.001, 0.128 GB at 10.
    assert costs(16, 0.5, 2e6, 4, CONFIG) == pytest.approx(
        {"seconds_to_target": 8.0, "gigabytes_to_target": 0.128, "price_to_target": 0.032 + 1.28}
    )
    assert set(costs(None, 0.5, 2e6, 4, CONFIG).values()) == {None}


def test_rows_multiply_measured_steps_with_simulated_ones(tmp_path: Path) -> None:
    known = curves(
        tmp_path,
        curve("toy", "sdp", 2, 0.5, 0.92),
        curve("densenet22", "sdp", 4, 0.95),
        curve("toy", "ssp", 2, 0.1),
        curve("toy", "gq8_bucketed", 2, 0.1, 0.2, 0.91),
        curve("densenet22", "gq4_bucketed", 2, 0.95),
    )
    rows = list(target_rows([TRACE], CONFIG, IDEAL, known, STEPS))
    cells = {(row["study_method"], row["workers"], row["link_mbit_per_second"]): row for row in rows}
    assert len(cells) == len(rows) == 2 * (3 + 1)
    assert not list(target_rows([TRACE], CONFIG, IDEAL, known, {})), "a batch size that nobody recorded"
    plain = cells["SDP", 2, 100.0]
    (step,) = simulated_steps(batch_trace(TRACE, 8, STEPS["toy"]), "sdp", 2, [1e8], IDEAL)
    assert plain["step_seconds"] == pytest.approx(step)
    assert plain["seconds_to_target"] == pytest.approx(16 * step)
    assert (plain["steps_source"], plain["step_source"], plain["curve_model"]) == (
        "measured",
        "simulated",
        "toy",
    )
    # Four workers share the batch of 16, and the small model's curve stands in.
    shared = cells["SDP", 4, 100.0]
    assert (shared["batch_size_per_worker"], shared["curve_model"]) == (4, "densenet22")
    assert shared["local_step_seconds"] == pytest.approx(0.05)
    late = cells["SSP", 2, 100.0]
    assert (late["steps_to_target"], late["price_to_target"], late["best_accuracy"]) == (None, None, 0.1)
    # The model's own curve comes before a better one of the small model.
    assert cells["GQ-SDP", 2, 100.0]["method"] == "gq8_bucketed"
    assert cells["GQ-SDP", 2, 100.0]["steps_to_target"] == 24


def test_figures_are_written_with_rows_and_without(tmp_path: Path) -> None:
    known = curves(tmp_path, curve("toy", "sdp", 2, 0.5, 0.92), curve("toy", "ssp", 2, 0.1, 0.2))
    for rows in (list(target_rows([TRACE], CONFIG, IDEAL, known, STEPS)), []):
        paths = draw_target(rows, known, tmp_path / str(len(rows)))
        assert [path.stem for path in paths] == list(TARGET_FIGURES)
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_the_committed_curves_are_those_of_the_study_s_methods() -> None:
    known = Curves.read(CURVES)
    assert known.global_batch_size == 128
    assert known.workers() == [2, 8, 16, 64]
    for workers in known.workers():
        for method in ("sdp", "ssp", "gq4_scatter"):
            assert len(known.of("densenet22", method, workers)) == 10
    for row in (row for rows in known.rows.values() for row in rows):
        assert {"commit", "device", "steps", "test_accuracy"} <= row.keys()
    recorded = json.loads(BATCH_STEPS.read_text())
    for sizes in recorded["step_seconds"].values():
        assert list(sizes) == ["2", "8", "16", "64"]
        assert sizes["2"] < sizes["64"]
