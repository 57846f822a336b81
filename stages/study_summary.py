"""Stage study_summary: answers, tables, figures and page of the recognition study."""

from pipelines.config import load_section
from pipelines.entry import run_stage
from pipelines.study import StudyConfig
from pipelines.study.summary import summarise


def main() -> None:
    """Run the stage with the section `study` of params.yaml."""
    summarise(load_section(StudyConfig, "study"))


if __name__ == "__main__":
    run_stage(main)
