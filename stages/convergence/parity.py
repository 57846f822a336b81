"""Stage parity@(DATA, METHOD): train all seeds of the accuracy test by one method, on two Horovod workers."""

from pipelines.command_line import add_params, own_program, stage_parser
from pipelines.entry import run_stage
from pipelines.experiments.convergence.job import parity_job
from pipelines.experiments.convergence.run import run


def main() -> None:
    """Parse the command line and either run or be one of the Horovod workers."""
    parser = stage_parser(__doc__)
    parser.add_argument("--data", required=True, help="key of convergence.parity.sets")
    parser.add_argument("--method", default="gq8", help="key of the section methods (default: %(default)s)")
    add_params(parser)
    arguments = parser.parse_args()
    run(parity_job(arguments.method, arguments.data, arguments.params), own_program())


if __name__ == "__main__":
    run_stage(main)
