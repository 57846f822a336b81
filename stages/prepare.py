"""Stage prepare: read the data set, split it, record statistics and checksums, draw a sample grid."""

from dataclasses import asdict
from pathlib import Path

from pipelines.command_line import stage_parser
from pipelines.config import DEFAULT_PATH, load_section
from pipelines.data import PrepareConfig
from pipelines.data.preparation import prepare
from pipelines.data.prepared import SPLITS
from pipelines.entry import run_stage
from pipelines.results import write_json
from pipelines.tracking import TrackingConfig, open_run

FOLDER = Path("data/prepared")
FIGURE = Path("results/figures/samples.png")
SUMMARY = Path("results/prepare.json")


def main() -> None:
    """Write FOLDER, FIGURE and SUMMARY."""
    stage_parser(__doc__).parse_args()
    config = load_section(PrepareConfig, "prepare", DEFAULT_PATH)
    tracking = load_section(TrackingConfig, "tracking", DEFAULT_PATH)
    with open_run(tracking, "prepare", None, {"seed": config.seed}) as tracker:
        tracker.log_params({"prepare": asdict(config)})
        summary = prepare(config, FOLDER, FIGURE)
        write_json(SUMMARY, summary)
        tracker.set_tags({"data_checksum": summary["data_checksum"]})
        sizes = {part: summary[f"num_{part}"] for part in SPLITS}
        tracker.log_dataset(summary["name"], summary["data_checksum"], sizes, "preparation")
        tracker.log_figure(FIGURE)
    checksum = summary["data_checksum"][:12]
    print(f"{summary['name']}: {summary['num_train']} training images, checksum {checksum}")


if __name__ == "__main__":
    run_stage(main)
