"""Stage prepare: read the data set, split it, record its statistics and checksum, draw a sample grid."""

from pathlib import Path

from pipelines.config import load_section
from pipelines.data import PrepareConfig
from pipelines.data.preparation import prepare
from pipelines.entry import run_stage
from pipelines.results import write_json
from pipelines.tracking import TrackingConfig, open_run

FOLDER = Path("data/prepared")
FIGURE = Path("results/figures/samples.png")
SUMMARY = Path("results/prepare.json")


def main() -> None:
    """Write FOLDER, FIGURE and SUMMARY."""
    config = load_section(PrepareConfig, "prepare")
    with open_run(
        load_section(TrackingConfig, "tracking"), "prepare", None, {"seed": config.seed}
    ) as tracker:
        summary = prepare(config, FOLDER, FIGURE)
        write_json(SUMMARY, summary)
        tracker.log_params(summary)
        tracker.set_tags({"data_checksum": summary["data_checksum"]})
        tracker.log_figure(FIGURE)
    print(
        f"{summary['name']}: {summary['num_train']} training images, checksum {summary['data_checksum'][:12]}"
    )


if __name__ == "__main__":
    run_stage(main)
