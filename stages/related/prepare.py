"""Stage prepare@DATA: prepare one data set of the further systems."""

from pipelines.command_line import stage_parser
from pipelines.config import load_section
from pipelines.data import PrepareConfig
from pipelines.data.preparation import prepare
from pipelines.entry import run_stage
from pipelines.experiments.related import RelatedConfig
from pipelines.experiments.related.job import DATA, prepare_config


def main() -> None:
    """Write the folder data/related/DATA, a sample picture among its files."""
    parser = stage_parser(__doc__)
    parser.add_argument("--data", required=True, help="a data set of the section related, such as digits")
    data = parser.parse_args().data
    config = prepare_config(
        load_section(PrepareConfig, "prepare"), load_section(RelatedConfig, "related"), data
    )
    summary = prepare(config, DATA / data, DATA / data / "samples.png")
    print(f"{data}: {summary['num_train']} training images")


if __name__ == "__main__":
    run_stage(main)
