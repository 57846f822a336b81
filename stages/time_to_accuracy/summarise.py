"""Stage summarise: seconds and bytes to the reference's accuracy, as a table and curves; a section of the report."""

from pathlib import Path

from pipelines.command_line import stage_parser
from pipelines.config import load_section
from pipelines.entry import run_stage
from pipelines.experiments.time_to_accuracy import TimeToAccuracyConfig
from pipelines.experiments.time_to_accuracy.summary import summarise
from pipelines.report import rebuild_report


def main() -> None:
    """Run the stage with the section of params.yaml; the report of `make repro` gets the new rows too."""
    stage_parser(__doc__).parse_args()
    summarise(load_section(TimeToAccuracyConfig, "time_to_accuracy"))
    rebuild_report(Path("results"))


if __name__ == "__main__":
    run_stage(main)
