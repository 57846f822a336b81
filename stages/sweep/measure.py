"""Stage measure@(MODEL, LINK): time a training step of every method on an emulated link.

It starts an emulated cluster, there `horovodrun`, and there itself once a node.
"""

from pipelines.command_line import add_params, own_program, stage_parser
from pipelines.entry import run_stage
from pipelines.experiments.sweep.job import load_job
from pipelines.experiments.sweep.launch import run


def main() -> None:
    """Parse the command line and either launch the workers or be one of them."""
    parser = stage_parser(__doc__)
    parser.add_argument("--model", default="densenet100", help="registered model name (default: %(default)s)")
    parser.add_argument("--link", default="100mbit", help="a rate, or unshaped (default: %(default)s)")
    add_params(parser)
    arguments = parser.parse_args()
    run(load_job(arguments.model, arguments.link, arguments.params), own_program())


if __name__ == "__main__":
    run_stage(main)
