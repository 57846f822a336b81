"""Stage `prepare`: read the data set, split it, record its statistics and checksum, draw a sample grid."""

import json
from pathlib import Path

from pipelines.config import load_section
from pipelines.data import PrepareConfig
from pipelines.data.preparation import prepare
from pipelines.entry import run_stage

FOLDER = Path("data/prepared")
FIGURE = Path("results/figures/samples.png")
SUMMARY = Path("results/prepare.json")


def main() -> None:
    """Write FOLDER, FIGURE and SUMMARY."""
    summary = prepare(load_section(PrepareConfig, "prepare"), FOLDER, FIGURE)
    SUMMARY.parent.mkdir(parents=True, exist_ok=True)
    SUMMARY.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(
        f"{summary['name']}: {summary['num_train']} training images, checksum {summary['data_checksum'][:12]}"
    )


if __name__ == "__main__":
    run_stage(main)
