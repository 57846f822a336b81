"""Stage converge@(METHOD, N) and parity@METHOD: train a small model and keep the curve of every run.

Part of the pipeline in the folder convergence/ (`make convergence`), not of `make repro`. Two workers run on
Horovod, more on the virtual cluster of this process.
"""

import argparse
from pathlib import Path

from pipelines.config import DEFAULT_PATH, load_section
from pipelines.convergence import ConvergenceConfig, ConvergenceJob
from pipelines.entry import run_stage
from pipelines.models.config import DenseNetConfig
from pipelines.training.config import RecipeConfig


def main() -> None:
    """Parse the command line and either run or be one of the Horovod workers."""
    parser = argparse.ArgumentParser(prog="python -m stages.convergence", description=__doc__)
    parser.add_argument("--method", default="gq8", help="key of the section methods (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="number of workers (default: %(default)s)")
    parser.add_argument("--parity", action="store_true", help="all seeds of convergence.parity_seeds")
    parser.add_argument(
        "--params", type=Path, default=DEFAULT_PATH, help="parameter file (default: %(default)s)"
    )
    arguments = parser.parse_args()
    config = load_section(ConvergenceConfig, "convergence", arguments.params)
    name = f"parity-{arguments.method}" if arguments.parity else f"{arguments.method}-{arguments.workers}"
    job = ConvergenceJob(
        method=arguments.method,
        workers=arguments.workers,
        seeds=tuple(range(1, config.parity_seeds + 1)) if arguments.parity else (1,),
        convergence=config,
        recipe=load_section(RecipeConfig, "recipe", arguments.params),
        densenet=load_section(DenseNetConfig, "densenet", arguments.params),
        params=arguments.params,
        data_folder=Path("data/prepared"),
        result_file=Path("results/convergence") / f"{name}.json",
    )
    # Imported late: a worker has to be one before torch starts threads.
    from pipelines.convergence.run import run, run_worker
    from pipelines.parallel.horovodrun import is_worker

    if is_worker():
        run_worker(job)
    else:
        program = ["-m", "stages.convergence", "--method", job.method, "--workers", str(job.workers)]
        program += ["--params", str(job.params), *(["--parity"] if arguments.parity else [])]
        run(job, program)


if __name__ == "__main__":
    run_stage(main)
