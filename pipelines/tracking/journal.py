"""What a stage wanted to log and no store took: kept in a folder of the checkout until it is sent.

A folder a run, whose name sorts by the run's start: `calls.jsonl` (the opening, then a call a line), `files/` (copies
of what the calls name) and `lock`, held as long as the run's process lives.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.tracking.opening import Opening

FOLDER = Path("mlpending")
REFUSED = ".refused"
"""End of the name of a folder whose records a store has refused: it is kept, and sent no more."""
_CALLS, _FILES, _LOCK = "calls.jsonl", "files", "lock"
_NEW = ".new-"
# The argument of these calls that is a file or folder, which is copied.
_FILE_ARGUMENTS = {"log_figure": "path", "log_artifact": "path", "log_model": "folder"}
_KNOWN = {"log_params", "log_metrics", "log_history", "log_dataset", "set_tags", "end", *_FILE_ARGUMENTS}


@dataclass(frozen=True)
class Call:
    """A method of the store's tracker, with its arguments."""

    target: Any
    """Whose run it is of: None for the stage's own, else what `KeepingTracker` puts there."""
    name: str
    arguments: dict[str, Any]
    moment: int
    """When the stage made it: milliseconds since 1970."""


@dataclass(frozen=True)
class Record:
    """The content of a journal."""

    opening: Opening
    calls: list[Call]


class Journal:
    """The journal of one run; its folder is made with the first call."""

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self.folder = FOLDER.absolute() / opening.folder_name
        self._lock: BinaryIO | None = None
        self._calls: BinaryIO | None = None
        self._files = 0

    def append(self, call: Call) -> None:
        """Write `call`, and copies of the files that it names, to the disk. Raises OSError where it takes no more."""
        if self._calls is None:
            self._begin()
        arguments = dict(call.arguments)
        name = _FILE_ARGUMENTS.get(call.name)
        if name is not None:
            arguments[name] = self._copy(Path(arguments[name]))
        line = {"target": call.target, "name": call.name, "arguments": arguments, "moment": call.moment}
        self._write(line)

    def close(self) -> None:
        """Let go of the journal: from now on it may be sent."""
        for file in (self._calls, self._lock):
            if file is not None:
                file.close()
        self._calls = self._lock = None

    def _begin(self) -> None:
        """Make the folder: it appears under its name with the lock held and the opening written."""
        new = self.folder.with_name(_NEW + self.folder.name)
        shutil.rmtree(new, ignore_errors=True)
        (new / _FILES).mkdir(parents=True)
        self._lock = (new / _LOCK).open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # Unbuffered: what a full disk did not take is not tried again when the file is closed.
        self._calls = (new / _CALLS).open("wb", buffering=0)
        self._write(self.opening.to_values())
        os.replace(new, self.folder)

    def _write(self, line: Mapping[str, Any]) -> None:
        assert self._calls is not None
        content, position = json.dumps(line).encode() + b"\n", self._calls.tell()
        try:
            if self._calls.write(content) != len(content):
                raise OSError("no room")
            os.fsync(self._calls.fileno())
        except OSError:
            # A part of a line would spoil the next one.
            self._calls.truncate(position)
            self._calls.seek(position)
            raise

    def _copy(self, path: Path) -> str:
        self._files += 1
        relative = Path(_FILES) / str(self._files) / path.name
        target = self.folder / relative
        if path.is_dir():
            shutil.copytree(path, target)
        else:
            target.parent.mkdir(parents=True)
            shutil.copyfile(path, target)
        return str(relative)


def pending() -> list[Path]:
    """Return the folders of the journals that are to be sent, oldest run first."""
    if not FOLDER.is_dir():
        return []
    found = [path for path in FOLDER.iterdir() if not path.name.startswith(".") and path.suffix != REFUSED]
    return sorted(path.absolute() for path in found if path.is_dir())


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold a journal for a `with` block; yield False where its process still writes it, or another one sends it."""
    try:
        with (folder / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
    except (BlockingIOError, FileNotFoundError):
        yield False


def read(folder: Path) -> Record:
    """Return what a journal holds; a line that a kill cut off does not count. Raises ValueError where it is none."""
    lines = (folder / _CALLS).read_bytes().split(b"\n")[:-1]
    values = [json.loads(line) for line in lines]
    if not values:
        raise ValueError(f"{folder} holds no opening")
    calls = [Call(**value) for value in values[1:]]
    for call in calls:
        if call.name not in _KNOWN:
            raise ValueError(f"{folder} holds an unknown call {call.name!r}")
        name = _FILE_ARGUMENTS.get(call.name)
        if name is not None:
            call.arguments[name] = _within(folder, str(call.arguments[name]))
    try:
        return Record(Opening(**values[0]), calls)
    except TypeError as error:
        raise ValueError(f"{folder} is of another version of this suite: {error}") from None


def _within(folder: Path, name: str) -> Path:
    """Return a kept file; a journal that names any other one is none of ours."""
    path = (folder / name).resolve()
    if not path.is_relative_to((folder / _FILES).resolve()):
        raise ValueError(f"{folder} names a file outside of it")
    return path
