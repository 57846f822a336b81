"""Stage summarise: answers, tables and figures of the further systems."""

from pathlib import Path

from pipelines.command_line import stage_parser
from pipelines.config import DEFAULT_PATH, load_section
from pipelines.entry import run_stage
from pipelines.experiments.related import RelatedConfig
from pipelines.experiments.related.answers.summary import summarise
from pipelines.experiments.related.systems import load_systems
from pipelines.report import rebuild_report

RESULTS = Path("results")


def main() -> None:
    """Run the stage with the section `related`; the report of `make repro` gets the new answers too."""
    stage_parser(__doc__).parse_args()
    summarise(load_systems(load_section(RelatedConfig, "related"), DEFAULT_PATH), RESULTS)
    rebuild_report(RESULTS)


if __name__ == "__main__":
    run_stage(main)
