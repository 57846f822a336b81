"""Stages time@DATA: time a training step of every compared model, in turns."""

from pipelines.command_line import stage_parser
from pipelines.entry import run_stage
from pipelines.experiments.study.job import add_data, load_job
from pipelines.experiments.study.runs.timing import time_models


def main() -> None:
    """Parse the command line, time the steps, say where the rows are."""
    parser = stage_parser(__doc__)
    add_data(parser)
    arguments = parser.parse_args()
    job = load_job(arguments.data, arguments.params)
    rows = time_models(job)
    print(f"time {job.data}: {len(rows)} rows in {job.results}")


if __name__ == "__main__":
    run_stage(main)
