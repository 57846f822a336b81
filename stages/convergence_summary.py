"""Stage convergence_summary: collect the curves of all methods and test for the same accuracy."""

from pipelines.config import load_section
from pipelines.convergence import ConvergenceConfig
from pipelines.convergence.summary import summarise
from pipelines.entry import run_stage


def main() -> None:
    """Run the stage with the section `convergence` of params.yaml."""
    summarise(load_section(ConvergenceConfig, "convergence"))


if __name__ == "__main__":
    run_stage(main)
