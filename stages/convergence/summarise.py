"""Stage summarise: collect the curves of all methods in one file and in figures."""

from pipelines.command_line import stage_parser
from pipelines.config import load_section
from pipelines.entry import run_stage
from pipelines.experiments.convergence import ConvergenceConfig
from pipelines.experiments.convergence.summary import summarise_curves


def main() -> None:
    """Run the stage with the section `convergence` of params.yaml."""
    stage_parser(__doc__).parse_args()
    summarise_curves(load_section(ConvergenceConfig, "convergence"))


if __name__ == "__main__":
    run_stage(main)
