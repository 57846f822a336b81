"""Stage report: one page with what was found."""

from pathlib import Path

from pipelines.command_line import stage_parser
from pipelines.config import DEFAULT_PATH, load_section
from pipelines.entry import run_stage
from pipelines.report import build_report, findings
from pipelines.tracking import TrackingConfig, open_run


def main() -> None:
    """Build results/report.html from the files under results/."""
    stage_parser(__doc__).parse_args()
    tracking = load_section(TrackingConfig, "tracking", DEFAULT_PATH)
    page = Path("results/report.html")
    with open_run(tracking, "report", None, {}) as tracker:
        build_report(Path("results"), page)
        pipeline = tracker.pipeline()
        pipeline.log_artifact(page)
        pipeline.set_note(findings(Path("results")))


if __name__ == "__main__":
    run_stage(main)
