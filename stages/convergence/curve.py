"""Stage curve@(METHOD, WORKERS): train a small model, or `--model`, by one method; loss and accuracy by epoch.

Two workers run on Horovod, more on the virtual cluster of this process.
"""

from pipelines.command_line import add_params, own_program, stage_parser
from pipelines.entry import run_stage
from pipelines.experiments.convergence.job import curve_job
from pipelines.experiments.convergence.run import run


def main() -> None:
    """Parse the command line and either run or be one of the Horovod workers."""
    parser = stage_parser(__doc__)
    parser.add_argument("--method", default="gq8", help="key of the section methods (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="number of workers (default: %(default)s)")
    parser.add_argument("--model", help="registered model name (default: convergence.model)")
    add_params(parser)
    arguments = parser.parse_args()
    job = curve_job(arguments.method, arguments.workers, arguments.params, arguments.model)
    run(job, own_program())


if __name__ == "__main__":
    run_stage(main)
