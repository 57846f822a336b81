"""Check parameters, data and machine before any work; every problem is printed, a line each (status 1)."""

import sys

from pipelines.command_line import add_params, stage_parser
from pipelines.entry import EXIT_USER_ERROR, run_stage
from pipelines.preflight.cache import lock_file, mend_cache
from pipelines.preflight.run import PIPELINES, preflight


def main() -> None:
    """Parse the command line, check, print."""
    parser = stage_parser(__doc__)
    parser.add_argument(
        "--pipeline", choices=PIPELINES, default="main", help="what is to be run (default: %(default)s)"
    )
    add_params(parser)
    arguments = parser.parse_args()
    problems, notes = preflight(arguments.pipeline, arguments.params)
    for note in notes:
        print(f"note: left out: {note}", file=sys.stderr)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if problems:
        sys.exit(EXIT_USER_ERROR)
    for line in mend_cache(lock_file(arguments.pipeline)):
        print(f"warning: {line}", file=sys.stderr)
    print(f"preflight: nothing found that would stop the pipeline {arguments.pipeline}")


if __name__ == "__main__":
    run_stage(main)
