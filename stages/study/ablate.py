"""Stages ablate_DATA: change one thing at a time of one model."""

from pipelines.command_line import stage_parser
from pipelines.entry import run_stage
from pipelines.experiments.study.job import add_data, load_job
from pipelines.experiments.study.runs.ablation import ablate


def main() -> None:
    """Parse the command line, train, say where the rows are."""
    parser = stage_parser(__doc__)
    add_data(parser)
    arguments = parser.parse_args()
    job = load_job(arguments.data, arguments.params)
    rows = ablate(job)
    print(f"ablate {job.data}: {len(rows)} rows in {job.results}")


if __name__ == "__main__":
    run_stage(main)
