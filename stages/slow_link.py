"""Stage slow_link: time a step of a few distributed runs between emulated nodes on a slow link.

Where this machine cannot emulate one, a line says why, and the speed-up's rows stay predicted.
"""

from pipelines.command_line import add_params, own_program, stage_parser
from pipelines.entry import run_stage
from pipelines.experiments.sweep.launch import run
from pipelines.experiments.sweep.slow_link import load_job, measure_slow_link
from pipelines.parallel.run import horovodrun


def main() -> None:
    """Parse the command line and either launch the workers of every cell or be one of a cell's."""
    parser = stage_parser(__doc__)
    parser.add_argument(
        "--model", default="densenet100", help="of a worker: its model (default: %(default)s)"
    )
    parser.add_argument("--link", default="100mbit", help="of a worker: its link (default: %(default)s)")
    add_params(parser)
    arguments = parser.parse_args()
    if horovodrun.is_worker():
        run(load_job(arguments.model, arguments.link, arguments.params), own_program())
    else:
        measure_slow_link(arguments.params, own_program())


if __name__ == "__main__":
    run_stage(main)
