"""Stage speedup: acceleration ratio and time per model and method; `predict`: a forecast for your own network."""

import sys
from pathlib import Path

from pipelines.config import DEFAULT_PATH, load_section
from pipelines.entry import run_stage
from pipelines.parallel import DistributedConfig
from pipelines.speedup import SpeedupConfig, analyse
from pipelines.speedup.command import answer, parse
from pipelines.tracking import TrackingConfig, open_run


def main() -> None:
    """Answer `predict`, or run the analysis over the matrix of the section `distributed`."""
    arguments = parse(sys.argv[1:])
    if arguments.action == "predict":
        print(answer(arguments))
        return
    distributed = load_section(DistributedConfig, "distributed", DEFAULT_PATH)
    config = load_section(SpeedupConfig, "speedup", DEFAULT_PATH)
    tracking = load_section(TrackingConfig, "tracking", DEFAULT_PATH)
    with open_run(tracking, "speedup", None, {}) as tracker:
        analyse(distributed.models, distributed.methods, config, results=Path("results"), tracker=tracker)


if __name__ == "__main__":
    run_stage(main)
