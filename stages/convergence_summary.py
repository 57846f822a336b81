"""Stage convergence_summary: collect the curves of all methods."""

from pipelines.config import load_section
from pipelines.convergence import ConvergenceConfig
from pipelines.convergence.summary import summarise_curves
from pipelines.entry import run_stage, take_no_arguments


def main() -> None:
    """Run the stage with the section `convergence` of params.yaml."""
    take_no_arguments("convergence_summary", __doc__)
    summarise_curves(load_section(ConvergenceConfig, "convergence"))


if __name__ == "__main__":
    run_stage(main)
