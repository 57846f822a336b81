"""Stage sweep_summary: collect the measurements of the sweep into one table and its figures."""

from pipelines.config import load_section
from pipelines.entry import run_stage, take_no_arguments
from pipelines.sweep import SweepConfig
from pipelines.sweep.summary import summarise


def main() -> None:
    """Run the stage with the section `sweep` of params.yaml."""
    take_no_arguments("sweep_summary", __doc__)
    summarise(load_section(SweepConfig, "sweep"))


if __name__ == "__main__":
    run_stage(main)
