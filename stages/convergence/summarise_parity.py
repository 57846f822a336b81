"""Stages summarise_parity@DATA and parity_table: test for the same accuracy on one data set; join all sets' tables."""

from pipelines.command_line import stage_parser
from pipelines.config import load_section
from pipelines.entry import run_stage
from pipelines.experiments.convergence import ConvergenceConfig
from pipelines.experiments.convergence.summary import join_parity, summarise_parity


def main() -> None:
    """Run the stage with the section `convergence` of params.yaml."""
    parser = stage_parser(__doc__)
    parser.add_argument("--data", help="key of convergence.parity.sets; without it, the tables are joined")
    arguments = parser.parse_args()
    config = load_section(ConvergenceConfig, "convergence")
    if arguments.data:
        summarise_parity(config, arguments.data)
    else:
        join_parity(config)


if __name__ == "__main__":
    run_stage(main)
