"""DVC's cache, which DVC itself does not read again: a damaged entry is removed, so that its stage makes it anew."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.config import load_yaml

CACHE = Path(".dvc/cache/files/md5")
_FOLDER_SUFFIX = ".dir"
_SHOWN = 16  # digits of a checksum


def lock_file(pipeline: str) -> Path:
    """Return the file in which DVC records what the stages of `pipeline` have made."""
    return Path("dvc.lock") if pipeline == "main" else Path("experiments", pipeline, "dvc.lock")


def mend_cache(lock: Path, cache: Path = CACHE) -> list[str]:
    """Remove the entries of `cache` that are not what `lock` records; return a line for each, by name and checksum.

    Entries that are missing count for nothing: DVC runs their stage. Reads all that the stages have made.
    """
    if not lock.is_file():
        return []
    lines = []
    for stage, content in load_yaml(lock).get("stages", {}).items():
        for out in content.get("outs", []):
            for entry, name in _entries(cache, str(out.get("md5", "")), str(out["path"])):
                found = _md5(entry)
                recorded = entry.parent.name + entry.name.removesuffix(_FOLDER_SUFFIX)
                if found != recorded:
                    entry.unlink()
                    lines.append(
                        f"{entry}, DVC's copy of {name}, is damaged (MD5 {found[:_SHOWN]}..., recorded "
                        f"{recorded[:_SHOWN]}...); it is removed, and the stage {stage} makes it anew"
                    )
    return lines


def _entries(cache: Path, md5: str, name: str) -> Iterator[tuple[Path, str]]:
    """Yield the entries of one result that are there, with the names of what they hold: a folder has one a file."""
    entry = cache / md5[:2] / md5[2:]
    if not md5 or not entry.is_file():
        return
    # First the files: the list of them is of no use once it has been removed.
    if md5.endswith(_FOLDER_SUFFIX):
        for file in _listed(entry):
            yield from _entries(cache, str(file["md5"]), f"{name}/{file['relpath']}")
    yield entry, name


def _listed(entry: Path) -> list[dict[str, Any]]:
    """Return the files of a folder's entry; none where it is damaged beyond reading."""
    try:
        listed = json.loads(entry.read_bytes())
        return [file for file in listed if {"md5", "relpath"} <= file.keys()]
    except (ValueError, TypeError, AttributeError):
        return []


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
