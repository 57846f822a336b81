"""Data files of users, damaged at random: read, or named in one line; always named where a checksum is recorded."""

import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.data.raw import SOURCES
from pipelines.errors import UserError
from tests.soak import Tried, times
from tests.unit.data.test_sources import write_fashion


def fashion(folder: Path, arrays: Any, make_config: Any) -> tuple[Any, list[Path]]:
    write_fashion(folder, "")
    return make_config(name="fashion_mnist", root=str(folder)), sorted(folder.glob("*ubyte"))


def fashion_gz(folder: Path, arrays: Any, make_config: Any) -> tuple[Any, list[Path]]:
    write_fashion(folder, ".gz")
    return make_config(name="fashion_mnist", root=str(folder)), sorted(folder.glob("*.gz"))


def npz(folder: Path, arrays: Any, make_config: Any) -> tuple[Any, list[Path]]:
    np.savez(folder / "own.npz", **arrays)
    return make_config(name="npz", path=str(folder / "own.npz")), [folder / "own.npz"]


def damaged(content: bytes, generator: random.Random) -> bytes:
    """Return the content with some bytes changed, most of them in the headers, or cut off."""
    if generator.random() < 0.2:
        return content[: generator.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(generator.randint(1, 3)):
        reach = len(content) if generator.random() < 0.5 else min(len(content), 40)
        changed[generator.randrange(reach)] = generator.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("make", [fashion, fashion_gz, npz])
@pytest.mark.parametrize("recorded", [False, True], ids=["no sums", "sums"])
def test_any_damaged_file_of_a_data_set_is_read_or_named(
    make: Callable[..., tuple[Any, list[Path]]],
    recorded: bool,
    tmp_path: Path,
    arrays: Any,
    make_config: Any,
    tried: Tried,
) -> None:
    tried("damaged data files", times(60, 1000))
    config, files = make(tmp_path, arrays, make_config)
    whole = {file: file.read_bytes() for file in files}
    if recorded:
        sums = [f"{hashlib.sha256(content).hexdigest()}  {file.name}\n" for file, content in whole.items()]
        (tmp_path / "SHA256SUMS").write_text("".join(sums))
    generator = random.Random(f"{make.__name__}{recorded}")
    named = 0
    for _ in range(times(60, 1000)):
        file = generator.choice(files)
        content = damaged(whole[file], generator)
        file.write_bytes(content)
        try:
            raw = SOURCES[config.name](config)
            assert raw.train_images.dtype == np.uint8
            assert not recorded or content == whole[file]
        except UserError as error:
            named += 1
            assert str(error).startswith(str(file.parent))  # noqa: PT017 - both outcomes are right
            assert str(error).isprintable()  # noqa: PT017
            assert not recorded or hashlib.sha256(content).hexdigest()[:16] in str(error)  # noqa: PT017
        file.write_bytes(whole[file])
    assert named > 0
