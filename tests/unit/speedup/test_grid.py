"""The committed grid of the report's explorer: it answers what `python -m stages.speedup predict` does."""

import json
from typing import Any

import pytest

from pipelines.report.grid import read_grid
from pipelines.speedup.command import answer, parse
from pipelines.speedup.grid import grid, input_digests

STALE = "pipelines/report/data/explorer.json is stale: python -m benchmarks.explorer_grid"


def test_the_grid_is_that_of_the_committed_calibration_and_traces() -> None:
    assert read_grid()["inputs"] == input_digests(), STALE


@pytest.fixture(scope="module")
def fresh() -> dict[str, Any]:
    """A slice of the grid, computed anew."""
    made: dict[str, Any] = json.loads(json.dumps(grid(["vgg16_bn"], [8])))
    return made


def test_a_slice_computed_anew_equals_the_committed_one(fresh: dict[str, Any]) -> None:
    committed = read_grid()
    index = committed["workers"].index(8)
    for key in ("bandwidths_mbit", "latencies_microseconds", "error", "validation", "methods"):
        assert committed[key] == fresh[key], STALE
    steps = {method: rows[index] for method, rows in committed["steps"]["vgg16_bn"].items()}
    assert steps == {method: rows[0] for method, rows in fresh["steps"]["vgg16_bn"].items()}, STALE


@pytest.mark.parametrize(
    ("model", "workers", "mbit", "microseconds"),
    [("vgg16_bn", 2, 100, 25), ("vgg16_bn", 64, 10_000, 50), ("densenet50", 8, 1_000, 1_000)],
)
def test_points_are_those_of_the_command(model: str, workers: int, mbit: int, microseconds: int) -> None:
    found = read_grid()
    network = ["--workers", str(workers), "--bandwidth", f"{mbit}mbit", "--latency", f"{microseconds}us"]
    told = json.loads(answer(parse(["predict", "--model", model, *network, "--json"])))
    place = (found["latencies_microseconds"].index(microseconds), found["bandwidths_mbit"].index(mbit))
    index = found["workers"].index(workers)
    steps = {method: rows[index] for method, rows in found["steps"][model].items()}
    assert {method for method, step in steps.items() if step is None} == told["impossible"].keys()
    for row in told["methods"]:
        # Four significant digits: half a unit of the last is at most 5e-4 of the value.
        assert steps[row["method"]][place[0]][place[1]] == pytest.approx(1e3 * row["step_seconds"], rel=5e-4)
        facts = found["methods"][row["method"]]
        assert facts["same_updates"] == row["same_updates"]
        assert facts["uncertainty"] == pytest.approx(row["uncertainty"], rel=5e-4)
    for method, reason in told["impossible"].items():
        assert found["impossible"][method][str(workers)] == reason
