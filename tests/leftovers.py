"""Ends what a test suite has started and left, however the suite itself ends, SIGKILL included.

`python -m tests.leftovers MARK` waits for the end of its standard input, which is that of the suite, and then kills
every process that carries the mark. All that a test starts inherits it with the environment, also in own sessions.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

VARIABLE = "GQBENCH_TEST_SUITE"


def marked(mark: str) -> list[int]:
    """Return the processes that carry the mark, this one not counted."""
    wanted = f"{VARIABLE}={mark}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0") and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


def main() -> None:
    mark = sys.argv[1]
    sys.stdin.read()
    # What is killed may just have started something; a dead process has no environment any more.
    while found := marked(mark):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
