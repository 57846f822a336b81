"""DVC's cache: what is damaged is named with its checksum, removed, and made anew by DVC; all else stays."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipelines.preflight.cache import CACHE, lock_file, mend_cache
from tests.damage import cut, empty, flip_byte

PROGRAM = "mkdir -p folder && echo one > folder/one && echo two > folder/two && echo three > file"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """A project with one stage that has run; returns what runs it, which returns DVC's output."""
    monkeypatch.chdir(tmp_path)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def dvc(*arguments: str) -> str:
        done = subprocess.run(
            ["dvc", *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    dvc("init", "--no-scm", "--quiet")
    YAML().dump({"stages": {"make": {"cmd": PROGRAM, "outs": ["folder", "file"]}}}, Path("dvc.yaml"))
    dvc("repro")
    return lambda: dvc("repro")


def entries() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in CACHE.rglob("*") if path.is_file()}


def test_damaged_entries_are_named_and_made_anew(project: Callable[[], str]) -> None:
    whole = entries()
    assert len(whole) == 4  # three files and the list of the folder's two
    assert mend_cache(lock_file("main")) == []
    assert entries() == whole
    for damage, name in ((flip_byte, "file"), (cut, "folder/two"), (empty, "folder")):
        (entry,) = (
            path
            for path in whole
            if (whole[path] == Path(name).read_bytes() if Path(name).is_file() else path.endswith(".dir"))
        )
        Path(entry).chmod(0o644)
        damage(Path(entry))
        recorded = (Path(entry).parent.name + Path(entry).stem)[:16]
        (line,) = mend_cache(lock_file("main"))
        assert line.startswith(f"{entry}, DVC's copy of {name}, is damaged (MD5 ")
        assert f"recorded {recorded}...); it is removed, and the stage make makes it anew" in line
        assert set(whole) - set(entries()) == {entry}
        assert "Running stage 'make'" in project()
        assert entries() == whole


def test_where_nothing_was_made_there_is_nothing_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert mend_cache(lock_file("sweep")) == []
