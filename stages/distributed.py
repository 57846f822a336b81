"""Stage distributed@MODEL-METHOD: train on several workers through Horovod and time the steps.

Started plainly it launches `horovodrun` with the hosts of the section `distributed`. On a cluster it can be
started by hand as well: `horovodrun -np 4 -H a:2,b:2 python -m stages.distributed --model M --method M`.
"""

import argparse
from pathlib import Path

from pipelines.config import DEFAULT_PATH, load_section
from pipelines.entry import run_stage
from pipelines.models.config import DenseNetConfig
from pipelines.parallel import DistributedConfig, Job
from pipelines.tracking import TrackingConfig
from pipelines.training.config import RecipeConfig


def main() -> None:
    """Parse the command line and either launch the workers or be one of them."""
    parser = argparse.ArgumentParser(prog="python -m stages.distributed", description=__doc__)
    parser.add_argument("--model", default="densenet100", help="registered model name (default: %(default)s)")
    parser.add_argument("--method", default="gq4", help="key of the section methods (default: %(default)s)")
    parser.add_argument(
        "--params", type=Path, default=DEFAULT_PATH, help="parameter file (default: %(default)s)"
    )
    arguments = parser.parse_args()
    job = Job(
        model=arguments.model,
        method=arguments.method,
        distributed=load_section(DistributedConfig, "distributed", arguments.params),
        recipe=load_section(RecipeConfig, "recipe", arguments.params),
        densenet=load_section(DenseNetConfig, "densenet", arguments.params),
        tracking=load_section(TrackingConfig, "tracking", arguments.params),
        params=arguments.params,
        data_folder=Path("data/prepared"),
    )
    # Imported late: the launcher needs no Horovod, and a worker has to be one before torch starts threads.
    from pipelines.parallel.run.horovodrun import is_worker

    if is_worker():
        from pipelines.parallel.run.worker import run_worker

        run_worker(job)
    else:
        from pipelines.parallel.run.launch import launch

        launch(job)


if __name__ == "__main__":
    run_stage(main)
