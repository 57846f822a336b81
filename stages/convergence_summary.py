"""Stage convergence_summary: collect the curves of all methods."""

from pipelines.config import load_section
from pipelines.entry import run_stage
from pipelines.experiments.convergence import ConvergenceConfig
from pipelines.experiments.convergence.summary import summarise_curves


def main() -> None:
    """Run the stage with the section `convergence` of params.yaml."""
    summarise_curves(load_section(ConvergenceConfig, "convergence"))


if __name__ == "__main__":
    run_stage(main)
