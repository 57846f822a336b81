"""The command lines of the stages: one look, one way to say where the parameters are."""

import argparse
import sys
from pathlib import Path

from pipelines.config import DEFAULT_PATH


def stage_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser named after the module that Python was started with; options have no abbreviations.

    A stage without options calls `parse_args` on it as it is, so that it refuses what it is given.
    """
    spec = sys.modules["__main__"].__spec__
    module = spec.name.removesuffix(".__main__") if spec is not None else Path(sys.argv[0]).stem
    return argparse.ArgumentParser(prog=f"python -m {module}", description=description, allow_abbrev=False)


def add_params(parser: argparse.ArgumentParser) -> None:
    """Add the option `--params`, a path."""
    parser.add_argument(
        "--params", type=Path, default=DEFAULT_PATH, help="parameter file (default: %(default)s)"
    )


def own_program() -> list[str]:
    """Return the arguments that make Python run this very command again, as a worker of horovodrun does."""
    return sys.orig_argv[1:]
