"""Stages DATA@SYSTEM: train and measure all variants of one system on one data set.

Started by hand or by DVC it does all and launches horovodrun; started by horovodrun it is one of the two workers.
"""

from pipelines.command_line import add_params, own_program, stage_parser
from pipelines.entry import run_stage
from pipelines.experiments.related.job import load_job
from pipelines.experiments.related.runs.run import run


def main() -> None:
    """Parse the command line and either run or be one of the Horovod workers."""
    parser = stage_parser(__doc__)
    parser.add_argument("--system", required=True, help="a key of related.systems, such as dacnn")
    parser.add_argument("--data", required=True, help="a data set of the section related, such as digits")
    add_params(parser)
    arguments = parser.parse_args()
    job = load_job(arguments.system, arguments.data, arguments.params)
    rows = run(job, own_program())
    if rows:
        print(f"{job.name}: {len(rows)} rows in {job.result_file}")


if __name__ == "__main__":
    run_stage(main)
