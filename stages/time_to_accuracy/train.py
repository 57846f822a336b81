"""Stage train@MODEL: train a model with every seed, by every method in turn, between two nodes on a slow link.

With --method or --seed it trains by that method or that seed alone; a method's result is written once all seeds are
there. Started by hand or by DVC it builds the emulated cluster and launches horovodrun; started by horovodrun it is
one of the two workers.
"""

from pipelines.command_line import add_params, own_program, stage_parser
from pipelines.entry import run_stage
from pipelines.experiments.time_to_accuracy.job import load_jobs
from pipelines.experiments.time_to_accuracy.run import run


def main() -> None:
    """Parse the command line and either run or be one of the Horovod workers."""
    parser = stage_parser(__doc__)
    parser.add_argument("--model", required=True, help="key of time_to_accuracy.models")
    parser.add_argument(
        "--method", help="key of the section methods; all of time_to_accuracy.methods without it"
    )
    parser.add_argument("--seed", type=int, help="one of time_to_accuracy.seeds; all without it")
    add_params(parser)
    arguments = parser.parse_args()
    run(load_jobs(arguments.model, arguments.method, arguments.params), arguments.seed, own_program())


if __name__ == "__main__":
    run_stage(main)
