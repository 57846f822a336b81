"""Stage prepare: prepare the data set of the trainings on a slow link, as the main pipeline's `prepare` does."""

from pipelines.command_line import stage_parser
from pipelines.config import load_section
from pipelines.data import PrepareConfig
from pipelines.data.preparation import prepare
from pipelines.entry import run_stage
from pipelines.experiments.time_to_accuracy import TimeToAccuracyConfig
from pipelines.experiments.time_to_accuracy.config import DATA


def main() -> None:
    """Write the folder data/time_to_accuracy, a sample picture among its files."""
    stage_parser(__doc__).parse_args()
    config = load_section(TimeToAccuracyConfig, "time_to_accuracy")
    chosen = load_section(PrepareConfig, "prepare").for_set(config.data, config)
    summary = prepare(chosen, DATA, DATA / "samples.png")
    print(f"{config.data}: {summary['num_train']} training images, checksum {summary['data_checksum'][:12]}")


if __name__ == "__main__":
    run_stage(main)
