"""Where a run comes from, in MLflow's own tags: program, user and commit."""

import contextlib
import getpass
import sys
from pathlib import Path

from pipelines.provenance import commit

_DIRTY = "-dirty"


def source_tags() -> dict[str, str]:
    """Return the tags that fill the columns Source, Version and User, and `command`: how to do the same again."""
    program = Path(sys.argv[0])
    tags = {
        "mlflow.source.type": "LOCAL",
        # Without the folders of this machine: stages/train.py
        "mlflow.source.name": "/".join(program.parts[-2:]),
        "command": " ".join(["python", "-m", ".".join(program.with_suffix("").parts[-2:]), *sys.argv[1:]]),
    }
    # Many containers have no name for their user id.
    with contextlib.suppress(OSError, KeyError):
        tags["mlflow.user"] = getpass.getuser()
    revision = commit()
    if revision != "unknown":
        tags["mlflow.source.git.commit"] = revision.removesuffix(_DIRTY)
        tags["mlflow.source.git.dirty"] = str(revision.endswith(_DIRTY)).lower()
    return tags
