"""Stages compare_DATA@MODEL: tune one model's learning rate, repeat it over seeds and test it."""

from pipelines.command_line import stage_parser
from pipelines.entry import run_stage
from pipelines.experiments.study.job import add_data, load_job
from pipelines.experiments.study.runs.compare import compare


def main() -> None:
    """Parse the command line, train, say where the rows are."""
    parser = stage_parser(__doc__)
    add_data(parser)
    parser.add_argument("--model", required=True, help="registered model name")
    arguments = parser.parse_args()
    job = load_job(arguments.data, arguments.params)
    rows = compare(job, arguments.model)
    print(f"compare {job.data}: {len(rows)} rows in {job.results}")


if __name__ == "__main__":
    run_stage(main)
