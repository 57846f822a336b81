"""What MLflow could not be told because its store was away: `send` it, or show its `status`."""

import argparse
import sys

from pipelines.command_line import stage_parser
from pipelines.config import DEFAULT_PATH, load_section
from pipelines.entry import run_stage
from pipelines.tracking import TrackingConfig
from pipelines.tracking.journal import pending
from pipelines.tracking.sending import report, send


def main() -> None:
    """Parse the command line and do what its word says; status 1 where the store refused something."""
    parser = stage_parser(__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="send|status")
    actions.add_parser("send", help="send all that is kept to the store of params.yaml, each record once")
    actions.add_parser("status", help="list the runs whose records are kept")
    _act(parser.parse_args())


def _act(arguments: argparse.Namespace) -> None:
    config = load_section(TrackingConfig, "tracking", DEFAULT_PATH)
    if arguments.action == "status":
        kept = [str(folder) for folder in pending()]
        print(*(kept or ["nothing is kept: all was sent"]), sep="\n")
        return
    sent = send(config)
    print(*report(sent), sep="\n")
    if sent.refused:
        sys.exit(1)


if __name__ == "__main__":
    run_stage(main)
