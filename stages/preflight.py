"""Check parameters, data and machine before any work; every problem is printed, a line each (status 1)."""

import argparse
import sys
from pathlib import Path

from pipelines.config import DEFAULT_PATH
from pipelines.entry import EXIT_USER_ERROR, run_stage
from pipelines.preflight.run import PIPELINES, preflight


def main() -> None:
    """Parse the command line, check, print."""
    parser = argparse.ArgumentParser(prog="python -m stages.preflight", description=__doc__)
    parser.add_argument(
        "--pipeline", choices=PIPELINES, default="main", help="what is to be run (default: %(default)s)"
    )
    parser.add_argument(
        "--params", type=Path, default=DEFAULT_PATH, help="parameter file (default: %(default)s)"
    )
    arguments = parser.parse_args()
    problems, notes = preflight(arguments.pipeline, arguments.params)
    for note in notes:
        print(f"note: left out: {note}", file=sys.stderr)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if problems:
        sys.exit(EXIT_USER_ERROR)
    print(f"preflight: nothing found that would stop the pipeline {arguments.pipeline}")


if __name__ == "__main__":
    run_stage(main)
