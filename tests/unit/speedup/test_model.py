"""Speed-up rows against numbers worked out by hand."""

from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.speedup import SpeedupConfig
from pipelines.speedup.model import ring_allreduce_seconds, speedup_rows

CONFIG = SpeedupConfig(reference="sdp", links_mbit_per_second=(100.0,))


def run(
    method: str, step: float, communication: float, wire_bytes: float, encode: float = 0.0
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
        "wire_bytes_per_step": wire_bytes,
    }


def test_ring_allreduce_moves_each_byte_twice_but_for_the_own_part() -> None:
    # 2 workers, 12.5 MB: every worker sends half of it twice, 12.5 MB in all; 100 Mbit/s are 12.5 MB/s.
    assert ring_allreduce_seconds(12.5e6, 2, 100.0) == 1.0
    # Many workers: twice the bytes in the limit; 4 workers 1.5 times.
    assert ring_allreduce_seconds(12.5e6, 4, 100.0) == 1.5


def test_measured_rows_use_the_local_step_of_the_same_run() -> None:
    rows = speedup_rows([run("sdp", 0.25, 0.05, 1e6), run("gq4", 0.5, 0.05, 1.25e5, encode=0.1)], CONFIG)
    measured = {row["method"]: row for row in rows if row["source"] == "measured"}
    assert measured["sdp"]["acceleration_ratio"] == pytest.approx(2 * 0.2 / 0.25, rel=1e-12)
    # Compression that loses is reported as losing.
    assert measured["gq4"]["acceleration_ratio"] == pytest.approx(0.8, rel=1e-12)
    assert measured["gq4"]["acceleration_over_reference"] == pytest.approx(0.5, rel=1e-12)
    assert measured["gq4"]["samples_per_second"] == pytest.approx(128, rel=1e-12)
    assert measured["gq4"]["epoch_seconds"] == pytest.approx(5.0, rel=1e-12)


def test_predicted_rows_replace_the_communication() -> None:
    rows = speedup_rows([run("sdp", 0.25, 0.05, 1.25e7), run("gq4", 0.35, 0.05, 1.25e6, encode=0.1)], CONFIG)
    predicted = {row["method"]: row for row in rows if row["source"] == "predicted"}
    assert predicted["sdp"]["step_seconds"] == pytest.approx(0.2 + 1.0, rel=1e-12)
    assert predicted["gq4"]["step_seconds"] == pytest.approx(0.2 + 0.1 + 0.1, rel=1e-12)
    assert predicted["gq4"]["acceleration_over_reference"] == pytest.approx(3.0, rel=1e-12)
    assert predicted["gq4"]["link"] == "100mbit"


def test_a_reference_that_was_not_run_is_named() -> None:
    with pytest.raises(
        UserError, match=r"speedup\.reference: 'sdp' was not run for densenet50; methods run: gq4"
    ):
        speedup_rows([run("gq4", 0.5, 0.05, 1.25e5)], CONFIG)
