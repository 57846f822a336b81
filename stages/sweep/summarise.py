"""Stage summarise: collect the measurements of the sweep into one table and its figures."""

from pipelines.command_line import stage_parser
from pipelines.config import load_section
from pipelines.entry import run_stage
from pipelines.experiments.sweep import SweepConfig
from pipelines.experiments.sweep.summary import summarise


def main() -> None:
    """Run the stage with the section `sweep` of params.yaml."""
    stage_parser(__doc__).parse_args()
    summarise(load_section(SweepConfig, "sweep"))


if __name__ == "__main__":
    run_stage(main)
