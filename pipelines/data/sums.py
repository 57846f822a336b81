"""Data files against the SHA-256 that whoever provides them has recorded beside them."""

import hashlib
from pathlib import Path

from pipelines.errors import UserError

SUMS_FILE = "SHA256SUMS"


def check_recorded_sum(path: Path) -> None:
    """Raise UserError where a file SHA256SUMS in the folder of `path`, or in the one above, records another sum.

    An entry (`SUM  PATH`, as sha256sum writes it) is that of the file where its path ends in the file's name, with
    the names of its folders as far as the entry has them. Without such an entry nothing is checked.
    """
    recorded = _recorded_sum(path.absolute())
    if recorded is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != recorded:
        raise UserError(
            f"{path}: is damaged or another version: its SHA-256 is {found[:16]}..., {SUMS_FILE} records "
            f"{recorded[:16]}...; fetch it again"
        )


def _recorded_sum(path: Path) -> str | None:
    for sums in (path.parent / SUMS_FILE, path.parent.parent / SUMS_FILE):
        if not sums.is_file():
            continue
        for line in sums.read_text(encoding="utf-8", errors="replace").splitlines():
            digest, _, entry = line.partition(" ")
            parts = Path(entry.strip().removeprefix("*")).parts
            if parts and parts[-1] == path.name and _same_folder(parts[:-1], path, sums.parent):
                return digest.lower()
    return None


def _same_folder(folders: tuple[str, ...], path: Path, base: Path) -> bool:
    """Whether an entry's folders are those between `base` and the file, perhaps with those above `base` before them."""
    inner = path.parent.relative_to(base).parts
    return folders[len(folders) - len(inner) :] == inner if len(folders) >= len(inner) else False
