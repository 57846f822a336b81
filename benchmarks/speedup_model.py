"""How far the predicted steps can be trusted: the simulator against the steps of the sweep.

Run: python -m benchmarks.speedup_model [--calibration FOLDER]
     python -m benchmarks.speedup_model record [--models NAME...]    traces of the suite's models, one thread
     python -m benchmarks.speedup_model measure [--models NAME...]   cells of three and four workers, light compute
     python -m benchmarks.speedup_model calibrate [--rows FILE]      fit on `make sweep`'s rows, and validate
     python -m benchmarks.speedup_model curves [--folder FOLDER]     accuracies by epoch, of convergence runs
     python -m benchmarks.speedup_model published                    points of other machines, predicted

Without a word it prints the errors of the committed calibration, on cells that its fit had not seen. The
other words but `published` write pipelines/speedup/data, which a prediction starts from; commit what they write.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipelines.command_line import own_program
from pipelines.config import DEFAULT_PATH, load_section, load_yaml
from pipelines.errors import UserError
from pipelines.experiments.convergence.config import ConvergenceConfig
from pipelines.experiments.convergence.job import OTHER_MODELS
from pipelines.experiments.sweep.config import MoreWorkersConfig, SweepConfig
from pipelines.experiments.sweep.job import load_job
from pipelines.experiments.sweep.launch import measure, run
from pipelines.parallel.run import horovodrun
from pipelines.provenance import provenance
from pipelines.results import Row, read_json, write_json
from pipelines.results.compact import write_compact_json
from pipelines.results.reference import REFERENCE
from pipelines.speedup.calibration import Calibration, load_calibration
from pipelines.speedup.calibration.cells import sweep_cells
from pipelines.speedup.calibration.fit import fit
from pipelines.speedup.calibration.store import ALL, DATA, MORE_WORKERS, load_cell_trace, trace_file
from pipelines.speedup.calibration.validation import (
    FITTED_WORKERS,
    LEFT_OUT,
    errors_by_method,
    fitted_cells,
    mean_error,
    validate,
)
from pipelines.speedup.published import published_rows
from pipelines.speedup.recording import record_suite
from pipelines.speedup.scaling import STUDY_METHODS
from pipelines.speedup.target import BATCH_STEPS, CURVES

CLOSE = 0.1
SECTION = "more_workers"
BATCH_SIZES = (2, 8, 16, 64)
COMMAND = "python -m benchmarks.speedup_model"
ROOT = Path(__file__).resolve().parents[1]


def calibrate(rows: Sequence[Row], more_rows: Sequence[Row], params: Path, source: Path) -> Calibration:
    """Fit on all cells of two workers, and judge by cells left out and by those of more workers."""
    # Rows of `auto` from before it chose among ranks, too, are of another method than the one that is predicted.
    rows = [row for row in rows if row["strategy"] != "auto" or "factor_ranks" in row]
    cells = [*sweep_cells(rows), *sweep_cells(more_rows, light=True)]
    traces = {key: load_cell_trace(*key) for key in dict.fromkeys(cell.traced for cell in cells)}
    entries = load_yaml(params)["methods"]
    machine = fit(fitted_cells(cells), traces, entries)
    predictions = validate(cells, traces, entries)
    usual = [each for each in predictions if not each.cell.oversubscribed]
    every = [*rows, *more_rows]
    made = {
        "command": f"{COMMAND} calibrate",
        "rows": [source.as_posix(), MORE_WORKERS.relative_to(ROOT).as_posix()],
        "rows_commits": sorted({row["commit"] for row in every}),
        "rows_device": sorted({row["device"] for row in every}),
        **provenance("cpu"),
    }
    return Calibration(
        machine=machine,
        errors={ALL: mean_error(usual), **errors_by_method(predictions)},
        validation=[each.row() for each in predictions],
        provenance=made,
    )


def measure_more_workers(params: Path, program: Sequence[str], models: Sequence[str] | None) -> None:
    """Measure the cells of the section `more_workers` between emulated nodes, and write their rows for `calibrate`.

    With `models` only theirs; the rows of the others are kept.
    """
    config = load_section(MoreWorkersConfig, SECTION, params)
    chosen = config.models if models is None else tuple(models)
    rows: list[Row] = []
    if models is not None and MORE_WORKERS.exists():
        rows = [row for row in read_json(MORE_WORKERS) if row["model"] not in chosen]
    for model in chosen:
        for link in config.links_of(model):
            job = load_job(model, link, params, SECTION)
            rows += measure(job, [*program, "--model", model, "--link", link])
    write_json(MORE_WORKERS, rows)


def record(params: Path, models: Sequence[str] | None) -> None:
    """Record the traces of `models`, or of all: as the sweep trains them, and as the cells of more workers do."""
    sweep = load_section(SweepConfig, "sweep", params)
    more = load_section(MoreWorkersConfig, SECTION, params)
    for model in models or sweep.models:
        record_suite(params, model, sweep.batch_size).write(trace_file(model))
    for model in more.models:
        if models is None or model in models:
            trace = record_suite(params, model, more.batch_size, more.methods)
            trace.write(trace_file(model, batch_size=more.batch_size))
    if models is None:
        record_batches(params, sweep.models)


def record_batches(params: Path, models: Sequence[str]) -> None:
    """Record a step of each model at several batch sizes, codecs left out."""
    steps = {
        model: {size: record_suite(params, model, size, ()).step_seconds for size in BATCH_SIZES}
        for model in models
    }
    write_compact_json(
        BATCH_STEPS, {"command": f"{COMMAND} record", **provenance("cpu"), "step_seconds": steps}
    )


def collect_curves(params: Path, folder: Path) -> None:
    """Keep the curves of the study's methods: of `make convergence` (committed), and of other models in `folder`."""
    config = load_section(ConvergenceConfig, "convergence", params)
    rows = read_json(REFERENCE / "convergence/convergence.json")
    rows += [row for path in sorted(folder.glob("*.json")) for row in read_json(path)]
    studied = {method for methods in STUDY_METHODS.values() for method in methods}
    fields = ("model", "method", "workers", "epoch", "steps", "test_accuracy", "commit", "device")
    kept = [{key: row[key] for key in fields} for row in rows if row["method"] in studied]
    command = "python -m stages.convergence.curve --model MODEL --method METHOD --workers N"
    size = config.global_batch_size
    write_compact_json(CURVES, {"command": command, "global_batch_size": size, "curves": kept})


def report(calibration: Calibration) -> Iterator[str]:
    """Yield the lines to print: the parameters, then the errors by what was left out, by link, model and method."""
    for key, value in vars(calibration.machine).items():
        yield f"{key:24} {value:.3g}"
    rows = [row for row in calibration.validation if not row["oversubscribed"]]
    yield f"{'':16} {'cells':>6} {'mean error':>11} {f'within {CLOSE:.0%}':>12}  predicted over measured"
    for field in LEFT_OUT:
        yield _line(f"a {field} left out", [row for row in rows if row["left_out"] == field])
    for key in ("link", "model", "method"):
        for value in dict.fromkeys(row[key] for row in rows):
            yield _line(value, [row for row in rows if row[key] == value])
    for workers in sorted({row["workers"] for row in rows} - {FITTED_WORKERS}):
        yield _line(f"{workers} workers", [row for row in rows if row["workers"] == workers])
    crowded = [row for row in calibration.validation if row["oversubscribed"]]
    if crowded:
        yield _line("full cores", crowded)


def compare(calibration: Calibration) -> Iterator[str]:
    """Yield the lines of a Markdown table of published points and their predictions."""
    yield "| model | workers | published efficiency | predicted | source |"
    yield "|---|---|---|---|---|"
    for row in published_rows(calibration):
        yield (
            f"| {row['model']} | {row['workers']} | {row['published_efficiency']:.0%} | "
            f"{row['predicted_efficiency']:.0%} | {row['source']}; assumed: {row['assumed']} |"
        )


def _line(title: str, rows: Sequence[Row]) -> str:
    ratios = np.array([row["predicted_seconds"] / row["measured_seconds"] for row in rows])
    errors = np.abs(ratios - 1)
    close = f"{int((errors <= CLOSE).sum())} of {len(rows)}"
    return (
        f"{title:16} {len(rows):6} {errors.mean():11.1%} {close:>12}  "
        f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calibration", type=Path, default=DATA)
    parser.add_argument("--params", type=Path, default=DEFAULT_PATH)
    actions = parser.add_subparsers(dest="action")
    actions.add_parser("calibrate").add_argument(
        "--rows", type=Path, default=Path("reference/sweep/sweep.json")
    )
    actions.add_parser("published")
    actions.add_parser("record").add_argument("--models", nargs="+")
    actions.add_parser("curves").add_argument("--folder", type=Path, default=OTHER_MODELS)
    measuring = actions.add_parser("measure")
    measuring.add_argument("--models", nargs="+", help="measure these alone and keep the rows of the others")
    for option in ("--model", "--link"):
        measuring.add_argument(option, help="given to a worker")
    arguments = parser.parse_args()
    try:
        lines = answer(arguments)
    except UserError as error:
        sys.exit(str(error))
    print("\n".join(lines))


def answer(arguments: argparse.Namespace) -> list[str]:
    """Do what the command line says and return the lines to print."""
    params = arguments.params
    if arguments.action == "record":
        record(params, arguments.models)
        return []
    if arguments.action == "curves":
        collect_curves(params, arguments.folder)
        return []
    if arguments.action == "measure":
        if horovodrun.is_worker():
            run(load_job(arguments.model, arguments.link, params, SECTION), own_program())
        else:
            measure_more_workers(params, own_program(), arguments.models)
        return []
    if arguments.action == "calibrate":
        more_rows = read_json(MORE_WORKERS) if MORE_WORKERS.exists() else []
        calibrate(read_json(arguments.rows), more_rows, params, arguments.rows).write(DATA)
    calibration = load_calibration(arguments.calibration)
    return list(compare(calibration) if arguments.action == "published" else report(calibration))


if __name__ == "__main__":
    main()
