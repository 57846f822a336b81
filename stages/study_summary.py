"""Stage study_summary: answers, tables, figures and page of the recognition study."""

from pathlib import Path

from pipelines.config import load_section
from pipelines.entry import run_stage, take_no_arguments
from pipelines.report import build_report
from pipelines.study import StudyConfig
from pipelines.study.summary import summarise
from pipelines.training import RecipeConfig


def main() -> None:
    """Run the stage with the sections `study` and `recipe`; the report of `dvc repro` gets the new answers too."""
    take_no_arguments("study_summary", __doc__)
    results = Path("results")
    milestones = load_section(RecipeConfig, "recipe").milestones
    summarise(load_section(StudyConfig, "study"), milestones, results)
    page = results / "report.html"
    if page.exists():
        build_report(results, page)


if __name__ == "__main__":
    run_stage(main)
