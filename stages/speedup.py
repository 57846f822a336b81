"""Stage speedup: acceleration ratio and time per model and method, with the parts of a step."""

from pathlib import Path

from pipelines.config import DEFAULT_PATH, load_section
from pipelines.entry import run_stage, take_no_arguments
from pipelines.parallel import DistributedConfig
from pipelines.speedup import SpeedupConfig, analyse
from pipelines.tracking import TrackingConfig, open_run


def main() -> None:
    """Run the analysis over the matrix of the section `distributed`."""
    take_no_arguments("speedup", __doc__)
    distributed = load_section(DistributedConfig, "distributed", DEFAULT_PATH)
    config = load_section(SpeedupConfig, "speedup", DEFAULT_PATH)
    tracking = load_section(TrackingConfig, "tracking", DEFAULT_PATH)
    with open_run(tracking, "speedup", None, {}) as tracker:
        analyse(distributed.models, distributed.methods, config, results=Path("results"), tracker=tracker)


if __name__ == "__main__":
    run_stage(main)
