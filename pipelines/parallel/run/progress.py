"""Progress of a distributed run: rank 0 prints marked lines, the launching stage turns them into a bar."""

import os
import sys

MARK = "@gqbench-progress"
ENVIRONMENT = "GQBENCH_PROGRESS"


def report_progress(rank: int, done: int, total: int) -> None:
    """Print a progress line on rank 0 when the launching stage asked for it by GQBENCH_PROGRESS=1."""
    if rank == 0 and os.environ.get(ENVIRONMENT) == "1":
        print(MARK, done, total, flush=True)


def parse_progress(line: str) -> tuple[int, int] | None:
    """Return (done, total) if `line` is a progress line of some rank, else None."""
    _, mark, rest = line.partition(MARK)
    fields = rest.split()
    if not mark or len(fields) != 2:
        return None
    return int(fields[0]), int(fields[1])


def wanted() -> bool:
    """Tell whether the launching stage shows a bar: only on a terminal."""
    return sys.stderr.isatty()
