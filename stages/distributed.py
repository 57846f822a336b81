"""Stage distributed@(MODEL, METHOD): train one model by one parallel strategy on several workers.

Started by hand or by DVC it launches `horovodrun`; started by `horovodrun` it is one of the workers. So the same
run can be had with options of your own: `horovodrun -np 4 -H a:2,b:2 python -m stages.distributed --model M`.
"""

from pipelines.command_line import add_params, own_program, stage_parser
from pipelines.entry import run_stage
from pipelines.parallel.run.job import load_job
from pipelines.parallel.run.launch import run


def main() -> None:
    """Parse the command line and either launch the workers or be one of them."""
    parser = stage_parser(__doc__)
    parser.add_argument("--model", default="densenet100", help="registered model name (default: %(default)s)")
    parser.add_argument("--method", default="gq4", help="key of the section methods (default: %(default)s)")
    add_params(parser)
    arguments = parser.parse_args()
    run(load_job(arguments.model, arguments.method, arguments.params), own_program())


if __name__ == "__main__":
    run_stage(main)
