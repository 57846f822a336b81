"""Whether the data that a pipeline reads are there, or can be had."""

import os
from dataclasses import replace
from pathlib import Path

from pipelines.data.config import PrepareConfig
from pipelines.data.others import OFFICIAL
from pipelines.data.roots import check_available
from pipelines.errors import UserError


def data_problem(config: PrepareConfig, name: str) -> str | None:
    """Say why the data set `name` cannot be had with the section `prepare`, or None."""
    if name in OFFICIAL:
        try:
            check_available(OFFICIAL[name], replace(config, name=name, path=None))
        except UserError as error:
            return str(error)
        return None
    if name in ("folder", "npz"):
        path = Path(config.path or "").expanduser()
        there = path.is_dir() if name == "folder" else path.is_file()
        if not there or not os.access(path, os.R_OK):
            kind = "a folder of images by class" if name == "folder" else "an .npz file"
            return f"prepare.path: {config.path!r} is not allowed; allowed: {kind}"
    return None
