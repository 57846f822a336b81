"""Which pipeline run a stage belongs to."""

import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path

import psutil

PIPELINE_VARIABLE = "GQBENCH_PIPELINE_RUN"
# An interpreter and its options may stand before the program: `python -m dvc repro`, `python3 /x/bin/dvc repro`.
_MAX_POSITION = 3


def pipeline_run() -> str | None:
    """Return a name that all stages of this pipeline run share, or None for a stage started by hand.

    It is the environment variable GQBENCH_PIPELINE_RUN if set, else host, process id and creation time of
    the `dvc` process that this one descends from.
    """
    named = os.environ.get(PIPELINE_VARIABLE)
    if named:
        # The name becomes part of a search expression, which knows no escape for quotes.
        return re.sub(r"""['"`\\]""", "_", named)
    process = dvc_process()
    if process is None:
        return None
    return f"{socket.gethostname()}-{process.pid}-{process.create_time():.2f}"


def dvc_process() -> psutil.Process | None:
    """Return the `dvc` process that this one descends from, or None."""
    for process in psutil.Process().parents():
        try:
            if is_dvc(process.cmdline()):
                return process
        except psutil.Error:
            # A process that has ended or is another user's is not the dvc that waits for us.
            continue
    return None


def is_dvc(command: Sequence[str]) -> bool:
    """Whether a command line starts DVC, as the program or as a module of Python."""
    return any(Path(word).name == "dvc" for word in command[:_MAX_POSITION])
