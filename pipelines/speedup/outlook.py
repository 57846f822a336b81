"""The outlook of the speed-up stage: simulated rows and figures for networks and numbers of workers beyond ours."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.parallel.traces.trace import Trace
from pipelines.results import Row, write_json
from pipelines.speedup.calibration import Calibration, load_calibration
from pipelines.speedup.calibration.store import load_trace, traced_models
from pipelines.speedup.config import SpeedupConfig
from pipelines.speedup.forecast import REFERENCE, machine_for
from pipelines.speedup.scaling import crossover_rows, scaling_rows
from pipelines.speedup.scaling_figures import draw_crossover, draw_scaling, draw_validation
from pipelines.speedup.target import Curves, load_batch_steps, target_rows
from pipelines.speedup.target_figures import draw_target_costs, draw_target_curves

FIGURES = ("scaling_acceleration", "scaling_epoch", "crossover", "prediction_errors")
TARGET_FIGURES = ("target_curves", "target_costs")
CROSSOVER_MBIT = (10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)
CROSSOVER_METHODS = (
    "sdp",
    "sdp_fp16",
    "gq16_bucketed",
    "gq8_bucketed",
    "gq4_bucketed",
    "gq4_scatter",
    "gq2",
    "powersgd",
    "topk",
    "dgc",
    "qsgd",
    "terngrad",
    "signsgd",
)
"""Methods that apply in every step the average of its own gradients."""
SAMPLES_PER_EPOCH = 50_000
"""Of CIFAR-10, the study's data set: for epochs of models that were not trained here."""


def write_outlook(
    runs: Sequence[Row],
    traces: Mapping[str, Trace],
    measured: Sequence[Row],
    config: SpeedupConfig,
    results: Path,
) -> list[Path]:
    """Simulate 1 to 1,024 workers of the models that have a trace; return the figures that were written.

    Writes in `results`: scaling.json, crossover.json and target.json (flat rows, `source: simulated`), and the figures
    `FIGURES` and `TARGET_FIGURES`. `runs` are rows of the distributed runs, `traces` those of their models
    (`traces_of`), `measured` their speed-up rows. Where no trace has `sdp`, all models with a committed
    one are simulated as they were recorded.
    """
    calibration = load_calibration()
    machine = machine_for(calibration, "gloo")
    comparable = [trace for trace in traces.values() if REFERENCE in trace.codecs]
    simulated = comparable or [load_trace(model) for model in traced_models()]
    samples = {run["model"]: samples_per_epoch(run) for run in runs}
    links = config.links_mbit_per_second
    scaling = [
        row
        for trace in simulated
        for row in scaling_rows(trace, links, machine, samples.get(trace.model, SAMPLES_PER_EPOCH))
    ]
    crossover = [
        row
        for trace in simulated
        for row in crossover_rows(trace, CROSSOVER_METHODS, CROSSOVER_MBIT, machine, calibration.error_of)
    ]
    write_json(results / "scaling.json", scaling)
    curves = Curves.read()
    target = list(target_rows(simulated, config, machine, curves, load_batch_steps()))
    write_json(results / "crossover.json", crossover)
    write_json(results / "target.json", target)
    folder = results / "figures"
    figures = draw_outlook(scaling, crossover, measured, calibration, folder)
    return figures + draw_target(target, curves, folder)


def draw_target(rows: Sequence[Row], curves: Curves, folder: Path) -> list[Path]:
    """Draw the `TARGET_FIGURES` into `folder` and return their paths; empty frames where there is no row."""
    paths = [folder / f"{name}.png" for name in TARGET_FIGURES]
    draw_target_curves(rows, curves, paths[0])
    draw_target_costs(rows, paths[1])
    return paths


def draw_outlook(
    scaling: Sequence[Row],
    crossover: Sequence[Row],
    measured: Sequence[Row],
    calibration: Calibration,
    folder: Path,
) -> list[Path]:
    """Draw the `FIGURES` into `folder` and return their paths."""
    paths = [folder / f"{name}.png" for name in FIGURES]
    ratio = "acceleration ratio"
    draw_scaling(scaling, measured, "acceleration_ratio", ratio, paths[0])
    draw_scaling(scaling, measured, "epoch_seconds", "seconds per epoch", paths[1])
    draw_crossover(crossover, paths[2])
    draw_validation(calibration.validation, paths[3])
    return paths


def samples_per_epoch(run: Row) -> float:
    """Return how many samples all workers of a run see in an epoch."""
    return float(run["steps"] / run["epochs"] * run["workers"] * run["batch_size_per_worker"])
