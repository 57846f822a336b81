"""Simulated rows and their figures; published points of other machines."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.speedup.calibration import Calibration, load_calibration
from pipelines.speedup.calibration.cells import UNSHAPED_BITS
from pipelines.speedup.calibration.store import load_trace
from pipelines.speedup.link import LinkModel
from pipelines.speedup.outlook import FIGURES, draw_outlook, samples_per_epoch
from pipelines.speedup.published import POINTS, layered_trace, multiply_adds, published_rows
from pipelines.speedup.run_traces import traces_of
from pipelines.speedup.scaling import WORKERS, crossover_rows, fastest_steps, scaling_rows
from pipelines.speedup.simulator import IDEAL
from pipelines.torchvision_compat import torchvision
from tests.unit.speedup.traces import make_trace

TRACE = make_trace()
LINKS = (100.0, 1000.0)


def run(**other: Any) -> dict[str, Any]:
    return {
        "model": "densenet50",
        "method": "sdp",
        "workers": 2,
        "batch_size_per_worker": 64,
        "steps": 16,
        "epochs": 2,
        "local_step_seconds_median": 0.12,
        **other,
    }


def test_rows_against_the_number_of_workers() -> None:
    rows = list(scaling_rows(TRACE, LINKS, IDEAL, 1000.0))
    assert {row["source"] for row in rows} == {"simulated"}
    assert len(rows) == 3 * len(LINKS) * len(WORKERS)
    for row in rows:
        assert row["acceleration_ratio"] <= row["workers"] * (1 + 1e-9)
        if row["workers"] == 1:
            assert row["acceleration_ratio"] == pytest.approx(1.0)
            # 125 steps of 8 samples.
            assert row["epoch_seconds"] == pytest.approx(125 * 0.1)
    quantized = {row["workers"]: row["method"] for row in rows if row["study_method"] == "GQ-SDP"}
    # Sums of four bits carry seven workers.
    assert quantized[4] == "gq4_bucketed"
    assert "gq4_bucketed" not in {quantized[workers] for workers in WORKERS if workers > 7}


def test_the_map_shows_whoever_is_fastest() -> None:
    methods = ("sdp", "gq8_bucketed", "topk")
    rows = list(crossover_rows(TRACE, methods, (10.0, 1e6), IDEAL, lambda _: 0.1))
    for row in rows:
        steps = fastest_steps(TRACE, methods, row["workers"], [1e6 * row["link_mbit_per_second"]], IDEAL)
        assert (row["step_seconds"], row["method"]) == steps[0]
        assert row["acceleration_over_reference"] >= 1.0 - 1e-12
        assert row["uncertainty"] == pytest.approx(0.02**0.5)
    # On a slow link two workers win by sending less; with a thousand, messages that are gathered lose.
    slow = {row["workers"]: row["method"] for row in rows if row["link_mbit_per_second"] == 10.0}
    assert slow[2] == "topk"
    assert slow[1024] != "topk"


def test_no_method_for_so_many_workers_is_an_error() -> None:
    with pytest.raises(UserError, match="cannot carry the sum of 64 workers"):
        fastest_steps(TRACE, ("gq4_bucketed",), 64, [1e9], IDEAL)


def test_figures_are_written(tmp_path: Path) -> None:
    scaling = list(scaling_rows(TRACE, LINKS, IDEAL, 1000.0))
    crossover = list(
        crossover_rows(TRACE, ("sdp", "gq8_bucketed", "topk"), (10.0, 1e3), IDEAL, lambda _: 0.1)
    )
    validation = [
        {
            "method": "sdp",
            "left_out": fold,
            "oversubscribed": fold == "workers",
            "predicted_seconds": 0.11,
            "measured_seconds": 0.1,
        }
        for fold in ("link", "model", "workers")
    ]
    calibration = Calibration(machine=IDEAL, errors={"all": 0.1}, validation=validation, provenance={})
    measured = [
        {"model": "toy", "method": "sdp", "workers": 2, "acceleration_ratio": 1.7, "epoch_seconds": 9.0}
    ]
    paths = draw_outlook(scaling, crossover, measured, calibration, tmp_path)
    assert [path.stem for path in paths] == list(FIGURES)
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG")


def test_traces_take_the_step_and_batch_of_the_runs(tmp_path: Path) -> None:
    found = traces_of([run(), run(method="topk"), run(model="unknown")], tmp_path)
    assert list(found) == ["densenet50"]
    trace = found["densenet50"]
    assert (trace.model, trace.batch_size) == ("densenet50", 64)
    assert trace.step_seconds == pytest.approx(0.12)
    assert samples_per_epoch(run()) == 16 / 2 * 2 * 64


def test_what_a_run_has_recorded_comes_before_the_committed_trace(tmp_path: Path) -> None:
    committed = load_trace("densenet50")
    own = committed.scaled_to(0.24)
    assert own.step_seconds > committed.step_seconds
    for method in ("sdp", "gq8_bucketed"):
        codecs = {method: committed.codecs[method].scaled(3.0)}
        replace(own, codecs=codecs).write(tmp_path / f"traces/densenet50-{method}.json")
    trace = traces_of([run(), run(method="gq8_bucketed")], tmp_path)["densenet50"]
    # The run's step of one worker, shared out as the recorded one.
    assert trace.step_seconds == pytest.approx(0.12)
    assert trace.codecs["gq8_bucketed"].encode_fixed == pytest.approx(
        3 * committed.codecs["gq8_bucketed"].encode_fixed
    )
    # A method that was not run here: three times the committed codec, as the one that was run is.
    assert trace.codecs["topk"].decode_fixed == pytest.approx(3 * committed.codecs["topk"].decode_fixed)
    assert trace.codecs.keys() == committed.codecs.keys()


def test_a_model_without_a_committed_trace_has_its_run_s(tmp_path: Path) -> None:
    replace(TRACE, codecs={"sdp": TRACE.codecs["sdp"]}).write(tmp_path / "traces/toy-sdp.json")
    trace = traces_of([run(model="toy")], tmp_path)["toy"]
    assert list(trace.codecs) == ["sdp"]
    rows = list(scaling_rows(trace, LINKS, IDEAL, 1000.0))
    assert {row["study_method"] for row in rows} == {"SDP"}
    (row, *_) = crossover_rows(trace, ("sdp", "topk"), (10.0,), IDEAL, lambda _: 0.1)
    assert row["method"] == "sdp"


def test_what_a_link_adds(tmp_path: Path) -> None:
    links = LinkModel(traces_of([run()], tmp_path))
    slow, fast = (links.added_seconds(run(), rate) for rate in (100.0, 1000.0))
    assert slow is not None
    assert fast is not None
    assert slow > fast > 0
    assert links.added_seconds(run(), UNSHAPED_BITS / 1e6) == 0.0
    for other in ({"model": "unknown"}, {"method": "unknown"}, {"method": "gq4_bucketed", "workers": 64}):
        assert links.added_seconds(run(**other), 100.0) is None


def test_multiply_adds_of_a_known_network() -> None:
    import torch

    with torch.device("meta"):
        work = multiply_adds(torchvision.models.vgg16().eval())
    assert work["classifier.0"] == 25088 * 4096
    assert work["classifier.6"] == 4096 * 1000
    assert work["features.0"] == 299 * 299 * 64 * 27
    trace = layered_trace("vgg16", 0.3)
    assert trace.step_seconds == pytest.approx(0.3)
    assert trace.ready_seconds[-1] < trace.ready_seconds[0] == pytest.approx(0.2)


def test_published_points_are_near() -> None:
    """Machines never seen, inputs as published: within 20 points of efficiency, and fewer with more workers."""
    rows = list(published_rows(replace(load_calibration())))
    assert len(rows) == len(POINTS)
    for row in rows:
        assert abs(row["predicted_efficiency"] - row["published_efficiency"]) < 0.2, row["model"]
    horovod = {row["model"]: row["predicted_efficiency"] for row in rows if row["workers"] == 512}
    assert horovod["vgg16"] < horovod["inception_v3"] - 0.1, "VGG-16 is the one that communication holds up"
