"""Stage sweep@MODEL-LINK: time a training step of every method on an emulated link.

Part of the pipeline in the folder sweep/ (`make sweep`), not of `make repro`. It starts an emulated cluster,
there `horovodrun`, and there itself once a node.
"""

import argparse
from pathlib import Path

from pipelines.config import DEFAULT_PATH, load_section
from pipelines.entry import run_stage
from pipelines.experiments.sweep import SweepConfig, SweepJob
from pipelines.models.config import DenseNetConfig
from pipelines.training.config import RecipeConfig


def main() -> None:
    """Parse the command line and either launch the workers or be one of them."""
    parser = argparse.ArgumentParser(prog="python -m stages.sweep", description=__doc__)
    parser.add_argument("--model", default="densenet100", help="registered model name (default: %(default)s)")
    parser.add_argument("--link", default="100mbit", help="a rate, or unshaped (default: %(default)s)")
    parser.add_argument(
        "--params", type=Path, default=DEFAULT_PATH, help="parameter file (default: %(default)s)"
    )
    arguments = parser.parse_args()
    job = SweepJob(
        model=arguments.model,
        link=arguments.link,
        sweep=load_section(SweepConfig, "sweep", arguments.params),
        recipe=load_section(RecipeConfig, "recipe", arguments.params),
        densenet=load_section(DenseNetConfig, "densenet", arguments.params),
        params=arguments.params,
        data_folder=Path("data/prepared"),
    )
    # Imported late: a worker has to be one before torch starts threads.
    from pipelines.parallel.run.horovodrun import is_worker

    if is_worker():
        from pipelines.experiments.sweep.worker import run_worker

        run_worker(job)
    else:
        from pipelines.experiments.sweep.launch import launch

        program = [
            "-m",
            "stages.sweep",
            "--model",
            job.model,
            "--link",
            job.link,
            "--params",
            str(job.params),
        ]
        launch(job, program)


if __name__ == "__main__":
    run_stage(main)
