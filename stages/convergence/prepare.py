"""Stage prepare@DATA: prepare a data set of the accuracy test, as the main pipeline's `prepare` does."""

from pipelines.command_line import stage_parser
from pipelines.config import load_section
from pipelines.data import PrepareConfig
from pipelines.data.preparation import prepare
from pipelines.entry import run_stage
from pipelines.experiments.convergence import ConvergenceConfig
from pipelines.experiments.convergence.job import data_folder, prepare_config


def main() -> None:
    """Write the folder data/convergence/DATA, a sample picture among its files."""
    parser = stage_parser(__doc__)
    parser.add_argument("--data", required=True, help="key of convergence.parity.sets")
    data = parser.parse_args().data
    config = load_section(ConvergenceConfig, "convergence")
    folder = data_folder(data)
    summary = prepare(
        prepare_config(config, load_section(PrepareConfig, "prepare"), data), folder, folder / "samples.png"
    )
    print(f"{data}: {summary['num_train']} training images, checksum {summary['data_checksum'][:12]}")


if __name__ == "__main__":
    run_stage(main)
