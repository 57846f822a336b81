"""Stage prepare@DATA: prepare one data set of the study."""

from pipelines.command_line import stage_parser
from pipelines.data.preparation import prepare
from pipelines.entry import run_stage
from pipelines.experiments.study.job import add_data, load_job


def main() -> None:
    """Write the folder data/study/DATA, a sample picture among its files."""
    parser = stage_parser(__doc__)
    add_data(parser)
    arguments = parser.parse_args()
    job = load_job(arguments.data, arguments.params)
    summary = prepare(job.prepare, job.data_folder, job.data_folder / "samples.png")
    print(f"{job.data}: {summary['num_train']} training images")


if __name__ == "__main__":
    run_stage(main)
