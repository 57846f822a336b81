"""Ways in which a file is damaged, and files that would execute code if they were trusted."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Damage = Callable[[Path], None]


class Executes:
    """Unpickled, it creates a file at `marker`."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch '{self.marker}'",))


def flip_byte(path: Path) -> None:
    """Change one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    """Lose the second half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    """Lose everything."""
    path.write_bytes(b"")


def malicious(path: Path) -> None:
    """Hold a pickle that creates the file `executed` beside it."""
    path.write_bytes(pickle.dumps(Executes(path.with_name("executed"))))


def old_format(path: Path) -> None:
    """Be what an older version wrote: the same content without a checksum."""
    torch.save(torch.load(path, weights_only=True), path)


def text(path: Path) -> None:
    """Be something else altogether."""
    path.write_text("no checkpoint\n" * 100)


DAMAGES: list[Damage] = [flip_byte, cut, empty, malicious, old_format, text]
