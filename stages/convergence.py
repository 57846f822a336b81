"""Stages converge@(METHOD, N) and parity@(DATA, METHOD): train a small model and keep the rows of every run.

Part of the pipeline in the folder convergence/ (`make convergence`), not of `make repro`. Two workers run on
Horovod, more on the virtual cluster of this process.
"""

import argparse
import sys
from pathlib import Path

from pipelines.config import DEFAULT_PATH, load_section
from pipelines.entry import run_stage
from pipelines.experiments.convergence import ConvergenceConfig
from pipelines.experiments.convergence.job import curve_job, parity_job
from pipelines.models.config import DenseNetConfig
from pipelines.training.config import RecipeConfig


def main() -> None:
    """Parse the command line and either run or be one of the Horovod workers."""
    parser = argparse.ArgumentParser(prog="python -m stages.convergence", description=__doc__)
    parser.add_argument("--method", default="gq8", help="key of the section methods (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="number of workers (default: %(default)s)")
    parser.add_argument(
        "--parity",
        metavar="DATA",
        help="accuracy test: all seeds on two workers, on a key of convergence.parity.sets",
    )
    parser.add_argument(
        "--params", type=Path, default=DEFAULT_PATH, help="parameter file (default: %(default)s)"
    )
    arguments = parser.parse_args()
    method, params = arguments.method, arguments.params
    config = load_section(ConvergenceConfig, "convergence", params)
    recipe = load_section(RecipeConfig, "recipe", params)
    densenet = load_section(DenseNetConfig, "densenet", params)
    if arguments.parity:
        job = parity_job(config, recipe, densenet, method=method, data=arguments.parity, params=params)
    else:
        job = curve_job(config, recipe, densenet, method=method, workers=arguments.workers, params=params)
    # Imported late: a worker has to be one before torch starts threads.
    from pipelines.experiments.convergence.run import run, run_worker
    from pipelines.parallel.run.horovodrun import is_worker

    if is_worker():
        run_worker(job)
    else:
        run(job, ["-m", "stages.convergence", *sys.argv[1:]])


if __name__ == "__main__":
    run_stage(main)
