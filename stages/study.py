"""Stages of the recognition study: prepare, compare, curves and ablate, on one data set.

Part of the pipeline in the folder study/ (`make study`), not of `make repro`.
"""

import argparse
from pathlib import Path

from pipelines.config import DEFAULT_PATH
from pipelines.data.preparation import prepare
from pipelines.entry import run_stage
from pipelines.experiments.study.ablation import ablate
from pipelines.experiments.study.compare import compare
from pipelines.experiments.study.curves import trace_curves
from pipelines.experiments.study.job import load_job

ACTIONS = ("prepare", "compare", "curves", "ablate")
PER_MODEL = ("compare", "curves")


def main() -> None:
    """Parse the command line and run one stage."""
    parser = argparse.ArgumentParser(prog="python -m stages.study", description=__doc__)
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("--data", required=True, help="a key of the section study, such as digits")
    parser.add_argument("--model", help="registered name; for compare and curves")
    parser.add_argument(
        "--params", type=Path, default=DEFAULT_PATH, help="parameter file (default: %(default)s)"
    )
    arguments = parser.parse_args()
    if (arguments.model is None) == (arguments.action in PER_MODEL):
        parser.error(f"--model belongs to {' and '.join(PER_MODEL)}, which need it")
    job = load_job(arguments.data, arguments.params)
    if arguments.action == "prepare":
        summary = prepare(job.prepare, job.data_folder, job.data_folder / "samples.png")
        print(f"{job.data}: {summary['num_train']} training images")
        return
    if arguments.action == "compare":
        rows = compare(job, arguments.model)
    elif arguments.action == "curves":
        rows = trace_curves(job, arguments.model)
    else:
        rows = ablate(job)
    print(f"{arguments.action} {job.data}: {len(rows)} rows in {job.results}")


if __name__ == "__main__":
    run_stage(main)
