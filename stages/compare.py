"""Print your results beside the committed ones (reference/), with what differs in machine, commit and versions."""

from pathlib import Path

from pipelines.command_line import stage_parser
from pipelines.compare import SUBJECTS, compare_results
from pipelines.entry import run_stage
from pipelines.results import REFERENCE


def main() -> None:
    """Parse the command line and print the report."""
    parser = stage_parser(__doc__)
    names = ", ".join(subject.file for subject in SUBJECTS)
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"what to compare (default: all): {names}")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="your results (default: %(default)s)"
    )
    arguments = parser.parse_args()
    for line in compare_results(arguments.results, REFERENCE, arguments.files):
        print(line)


if __name__ == "__main__":
    run_stage(main)
