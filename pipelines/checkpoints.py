"""Checkpoint files: written whole or not at all, with their SHA-256 inside; read without executing anything.

A file is what torch.save writes, a zip archive, with the digest of all bytes before it as the archive's comment: so
torch.load, and every tool that knows such files, reads it too.
"""

import hashlib
import mmap
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError  # nosec B403
from typing import Any, TypeVar

import torch

from pipelines.errors import UserError

Content = TypeVar("Content")

# What torch.load raises on a file whose pickle it does not execute, or that is none.
_REFUSED = (UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError)
_MARK = b"gqbench-checkpoint-1 sha256="
_DIGEST_CHARACTERS = 64
_COMMENT_BYTES = len(_MARK) + _DIGEST_CHARACTERS
_LENGTH_BYTES = 2  # of the archive's comment, the last field before it (PKWARE, APPNOTE.TXT 4.3.16)


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, of another version or not one at all; the message names file and reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def save(payload: Any, path: Path, *, predecessor: Path | None = None) -> None:
    """Write `payload` (tensors and plain values) to `path` with its checksum, on the disk when this returns.

    At any moment, a power cut included, the file is the old one or the whole new one. Where a `predecessor` is named
    the old file is kept under that name; then for a moment that is the only one. Raises UserError where the disk takes
    no more; the old file is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        _write(payload, temporary)
    except (OSError, RuntimeError) as error:  # torch's writer says the same with a RuntimeError
        temporary.unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or "no room for all of it"
        raise UserError(
            f"{path} cannot be written ({why}); what was there is kept: make room and run the same command again"
        ) from None
    if predecessor is not None and path.exists():
        os.replace(path, predecessor)
    os.replace(temporary, path)
    sync_folder(path.parent)


def _write(payload: Any, path: Path) -> None:
    """Write `payload` and its checksum to `path`, through to the disk."""
    torch.save(payload, path)
    with path.open("r+b") as file:
        file.seek(-_LENGTH_BYTES, os.SEEK_END)
        file.write(_COMMENT_BYTES.to_bytes(_LENGTH_BYTES, "little"))
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0, os.SEEK_END)
        file.write(_MARK + digest.encode())
        file.flush()
        os.fsync(file.fileno())


def load(path: Path) -> Any:
    """Return what `save` wrote to `path`, on the CPU; CheckpointError where it is missing or anything else."""
    try:
        _verify(path)
    except OSError as error:
        raise CheckpointError(path, f"cannot be read ({error.strerror}); train the model first") from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except _REFUSED:
        raise CheckpointError(
            path, "is refused: it holds more than tensors and plain values; remove it and train again"
        ) from None


def load_newest(read: Callable[[Path], Content], paths: Sequence[Path], what: str) -> Content | None:
    """Return what `read` gives for the first whole one of `paths` (the newest stands first), None where none is.

    One for which `read` raises CheckpointError is named on stderr with the reason, removed, and passed over; `what`
    says there what was to go on. Files that are missing do not count.
    """
    passed_over = False
    for path in paths:
        if not path.exists():
            continue
        try:
            content = read(path)
        except CheckpointError as error:
            passed_over = True
            drop(error)
            continue
        if passed_over:
            print(f"warning: {what} goes on from {path} instead", file=sys.stderr, flush=True)
        return content
    if passed_over:
        print(f"warning: {what} starts anew: no whole checkpoint is left", file=sys.stderr, flush=True)
    return None


def drop(error: CheckpointError) -> None:
    """Name the checkpoint that `error` is about on stderr, and remove it: nothing can be resumed from it."""
    print(f"warning: {error}; passed over and removed", file=sys.stderr, flush=True)
    error.path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the renames in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _verify(path: Path) -> None:
    """Raise CheckpointError unless the bytes of the file are those that `save` wrote."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size <= _COMMENT_BYTES:
            raise CheckpointError(path, f"is damaged: it has {size} bytes; remove it and train again")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            comment = content[-_COMMENT_BYTES:]
            with memoryview(content) as view, view[:-_COMMENT_BYTES] as checked:
                found = hashlib.sha256(checked).hexdigest()
    if not comment.startswith(_MARK):
        raise CheckpointError(
            path,
            "has no checksum at its end: it is cut off, of an older version or no checkpoint of this suite; "
            "remove it and train again",
        )
    recorded = comment[len(_MARK) :].decode("ascii", "replace")
    if found != recorded:
        raise CheckpointError(
            path,
            f"is damaged: its SHA-256 is {found[:16]}..., recorded is {recorded[:16]!r}...; "
            "remove it and train again",
        )
