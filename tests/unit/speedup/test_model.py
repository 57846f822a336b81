"""Speed-up rows against numbers worked out by hand."""

from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.speedup import SpeedupConfig
from pipelines.speedup.calibration.store import load_trace
from pipelines.speedup.link import LinkModel
from pipelines.speedup.model import link_seconds, speedup_rows

PRICES: Any = {"target_accuracy": 0.9, "price_per_worker_hour": 0.05, "price_per_gigabyte": 0.01}
CONFIG = SpeedupConfig(**PRICES, reference="sdp", links_mbit_per_second=(100.0,))


def run(
    method: str, step: float, communication: float, sent_bytes: float, encode: float = 0.0
) -> dict[str, Any]:
    return {
        "model": "densenet50",
        "method": method,
        "workers": 2,
        "batch_size_per_worker": 32,
        "steps": 20,
        "epochs": 2,
        "step_seconds_median": step,
        "compute_seconds_median": step - communication - encode,
        "encode_seconds_median": encode,
        "communication_seconds_median": communication,
        "decode_seconds_median": 0.0,
        "local_step_seconds_median": 0.2,
        "wire_bytes_per_step": sent_bytes / 1.5,
        "sent_bytes_per_step": sent_bytes,
    }


def test_a_link_moves_its_bandwidth_in_a_second() -> None:
    assert link_seconds(12.5e6, 100.0) == 1.0


def test_measured_rows_use_the_local_step_of_the_same_run() -> None:
    rows = speedup_rows(
        [run("sdp", 0.25, 0.05, 1e6), run("gq4", 0.5, 0.05, 1.25e5, encode=0.1)], CONFIG, None
    )
    measured = {row["method"]: row for row in rows if row["source"] == "measured"}
    assert measured["sdp"]["acceleration_ratio"] == pytest.approx(2 * 0.2 / 0.25, rel=1e-12)
    # Compression that loses is reported as losing.
    assert measured["gq4"]["acceleration_ratio"] == pytest.approx(0.8, rel=1e-12)
    assert measured["gq4"]["acceleration_over_reference"] == pytest.approx(0.5, rel=1e-12)
    assert measured["gq4"]["samples_per_second"] == pytest.approx(128, rel=1e-12)
    assert measured["gq4"]["epoch_seconds"] == pytest.approx(5.0, rel=1e-12)


def test_a_predicted_step_is_the_measured_one_and_the_time_on_the_link() -> None:
    rows = speedup_rows(
        [run("sdp", 0.25, 0.05, 1.25e7), run("gq4", 0.35, 0.05, 1.25e6, encode=0.1)], CONFIG, None
    )
    predicted = {row["method"]: row for row in rows if row["source"] == "predicted"}
    assert predicted["sdp"]["step_seconds"] == pytest.approx(0.25 + 1.0, rel=1e-12)
    assert predicted["sdp"]["communication_seconds"] == pytest.approx(0.05 + 1.0, rel=1e-12)
    assert predicted["gq4"]["step_seconds"] == pytest.approx(0.35 + 0.1, rel=1e-12)
    assert predicted["gq4"]["acceleration_over_reference"] == pytest.approx(1.25 / 0.45, rel=1e-12)
    assert predicted["gq4"]["link"] == "100mbit"


def test_no_link_makes_a_step_faster_than_the_measured_one() -> None:
    # A slow sum in memory: its time does not vanish on a link, however fast.
    config = SpeedupConfig(**PRICES, reference="sdp", links_mbit_per_second=(100.0, 1e4, 1e7))
    steps = [row["step_seconds"] for row in speedup_rows([run("sdp", 0.25, 0.15, 1e6)], config, None)]
    assert min(steps) == steps[0]
    # 1 MB on the fastest link that is allowed, 10^13 bit/s.
    assert steps[-1] == pytest.approx(0.25 + 8e6 / 1e13, rel=1e-12)


def test_a_reference_that_was_not_run_is_named() -> None:
    with pytest.raises(
        UserError, match=r"speedup\.reference: 'sdp' was not run for densenet50; methods run: gq4"
    ):
        speedup_rows([run("gq4", 0.5, 0.05, 1.25e5)], CONFIG, None)


def cell(method: str, step: float) -> dict[str, Any]:
    """A cell of the stage slow_link."""
    return {
        "model": "densenet50",
        "method": method,
        "link": "100mbit",
        "workers": 2,
        "step_seconds_median": step,
        "one_worker_step_seconds_median": 0.25,
        "exposed_communication_seconds": step - 0.25,
        "encode_seconds": 0.03,
        "decode_seconds": 0.01,
    }


def test_a_cell_that_was_measured_on_a_link_keeps_its_prediction_beside_it() -> None:
    runs = [run("sdp", 0.25, 0.05, 1.25e7), run("gq4", 0.35, 0.05, 1.25e6, encode=0.1)]
    alone = {**cell("alone", 0.25), "workers": 1}
    rows = speedup_rows(runs, CONFIG, None, [alone, cell("sdp", 1.5)])
    assert [(row["method"], row["source"]) for row in rows if row["link"] == "100mbit"] == [
        ("sdp", "measured"),
        ("gq4", "predicted"),
    ]
    plain, quantized = rows[2:]
    assert plain["step_seconds"] == 1.5
    assert plain["predicted_step_seconds"] == pytest.approx(1.25, rel=1e-12)
    # By the step of one worker of that very run, not of the one without a link.
    assert plain["acceleration_ratio"] == pytest.approx(2 * 0.25 / 1.5, rel=1e-12)
    assert plain["predicted_acceleration_ratio"] == pytest.approx(2 * 0.2 / 1.25, rel=1e-12)
    assert plain["communication_seconds"] == pytest.approx(1.5 - 0.25 - 0.04, rel=1e-12)
    parts = sum(plain[f"{part}_seconds"] for part in ("compute", "encode", "communication", "decode"))
    assert parts == pytest.approx(1.5, rel=1e-12)
    assert plain["acceleration_over_reference"] == 1.0
    # Predictions are compared with each other: 1.25 over 0.45, not 1.5.
    assert quantized["acceleration_over_reference"] == pytest.approx(1.25 / 0.45, rel=1e-12)


def test_a_link_that_no_parameter_names_is_predicted_for_the_other_methods() -> None:
    runs = [run("sdp", 0.25, 0.05, 1.25e7), run("gq4", 0.35, 0.05, 1.25e6)]
    config = SpeedupConfig(**PRICES, reference="sdp", links_mbit_per_second=(1000.0,))
    rows = speedup_rows(runs, config, None, [cell("gq4", 0.5)])
    assert [(row["link"], row["method"], row["source"]) for row in rows[4:]] == [
        ("100mbit", "sdp", "predicted"),
        ("100mbit", "gq4", "measured"),
    ]


def test_the_error_of_a_method_stands_beside_what_the_simulator_predicts() -> None:
    runs = [{**run("sdp", 0.25, 0.05, 1e6), "epochs": 2}]
    errors = {"sdp": 0.1}
    by_bytes = speedup_rows(runs, CONFIG, None, error_of=errors.get)
    assert [row["prediction_error"] for row in by_bytes] == [None, None]
    simulated = speedup_rows(
        runs, CONFIG, LinkModel({"densenet50": load_trace("densenet50")}), error_of=errors.get
    )
    assert [(row["source"], row["prediction_error"]) for row in simulated] == [
        ("measured", None),
        ("predicted", 0.1),
    ]
