"""Stage train@(MODEL, METHOD): train a model with every seed by one method, between two nodes on a slow link.

Started by hand or by DVC it builds the emulated cluster and launches horovodrun; started by horovodrun it is one of the
two workers.
"""

from pipelines.command_line import add_params, own_program, stage_parser
from pipelines.entry import run_stage
from pipelines.experiments.convergence.run import run
from pipelines.experiments.time_to_accuracy.job import load_job


def main() -> None:
    """Parse the command line and either run or be one of the Horovod workers."""
    parser = stage_parser(__doc__)
    parser.add_argument("--model", required=True, help="key of time_to_accuracy.models")
    parser.add_argument("--method", required=True, help="key of the section methods")
    add_params(parser)
    arguments = parser.parse_args()
    run(load_job(arguments.model, arguments.method, arguments.params), own_program())


if __name__ == "__main__":
    run_stage(main)
