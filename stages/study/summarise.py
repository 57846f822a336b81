"""Stage summarise: answers, tables, figures and page of the recognition study."""

from pathlib import Path

from pipelines.command_line import stage_parser
from pipelines.config import load_section
from pipelines.entry import run_stage
from pipelines.experiments.study import StudyConfig
from pipelines.experiments.study.answers.summary import summarise
from pipelines.report import rebuild_report
from pipelines.training import RecipeConfig

RESULTS = Path("results")


def main() -> None:
    """Run the stage with the sections `study` and `recipe`; the report of `make repro` gets the new answers too."""
    stage_parser(__doc__).parse_args()
    milestones = load_section(RecipeConfig, "recipe").milestones
    summarise(load_section(StudyConfig, "study"), milestones, RESULTS)
    rebuild_report(RESULTS)


if __name__ == "__main__":
    run_stage(main)
