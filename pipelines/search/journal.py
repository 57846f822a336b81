"""The cache of fitness evaluations: a file with a line each, only ever appended to."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from pipelines.checkpoints import sync_folder
from pipelines.search.fitness import Fitness


class Journal:
    """Fitness by a key that stands for all that determines it; also on the disk, at `path`.

    A line is on the disk when `add` returns. What a kill or a damage has left at the end of the file, from the first
    line on that is none, is cut off when it is opened; those networks are judged again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Fitness] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        length = self._read()
        self._file = path.open("ab")
        self._file.truncate(length)
        sync_folder(path.parent)

    def _read(self) -> int:
        """Take over the whole lines of the file and return their bytes."""
        length = 0
        for line in self._path.read_bytes().splitlines(keepends=True) if self._path.exists() else ():
            try:
                entry = json.loads(line)
                key, fitness = entry.pop("key"), Fitness(**entry)
            except (ValueError, TypeError, AttributeError, LookupError):
                break
            if not line.endswith(b"\n"):
                break
            self._known[key] = fitness
            length += len(line)
        return length

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> Fitness:
        return self._known[key]

    def __len__(self) -> int:
        return len(self._known)

    def add(self, key: str, fitness: Fitness) -> None:
        """Note the fitness of `key`."""
        self._file.write(json.dumps({"key": key, **asdict(fitness)}).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._known[key] = fitness

    def close(self) -> None:
        """Close the file."""
        self._file.close()
