"""A checkpoint file is whole or named: any byte, any length, any pickle."""

import os
import pickle
import random
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines import checkpoints
from pipelines.checkpoints import CheckpointError
from pipelines.errors import UserError
from tests.damage import Executes, malicious, old_format
from tests.soak import Tried, times

PAYLOAD = {"weight": torch.arange(12.0).reshape(3, 4), "epoch": 3, "history": [{"loss": 0.5}], "none": None}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "last.pt"
    checkpoints.save(PAYLOAD, path)
    return path


def assert_whole(content: Any) -> None:
    assert torch.equal(content["weight"], PAYLOAD["weight"])
    assert {key: content[key] for key in content if key != "weight"} == {
        key: PAYLOAD[key] for key in PAYLOAD if key != "weight"
    }


def reason_for(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    return message


def test_what_was_saved_is_loaded_also_by_torch(file: Path) -> None:
    assert_whole(checkpoints.load(file))
    assert_whole(torch.load(file, weights_only=True))
    assert os.listdir(file.parent) == ["last.pt"]


def test_the_same_content_gives_the_same_bytes(file: Path, tmp_path: Path) -> None:
    checkpoints.save(PAYLOAD, tmp_path / "again" / "last.pt")
    assert (tmp_path / "again" / "last.pt").read_bytes() == file.read_bytes()


def test_a_flipped_bit_anywhere_is_found(file: Path, tried: Tried) -> None:
    content = file.read_bytes()
    generator = random.Random(0)
    tried("flipped bits of a checkpoint", len(content) * times(1, 8))
    for place in range(len(content)):
        for bit in range(8) if times(0, 1) else [generator.randrange(8)]:
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            file.write_bytes(damaged)
            assert "is damaged: its SHA-256 is" in (reason := reason_for(file)) or "has no checksum" in reason


def test_a_file_cut_off_anywhere_is_found(file: Path, tried: Tried) -> None:
    content = file.read_bytes()
    tried("checkpoints cut off", len(content))
    for length in range(len(content)):
        file.write_bytes(content[:length])
        assert "has no checksum" in (reason := reason_for(file)) or f"it has {length} bytes" in reason


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    assert "cannot be read (No such file or directory); train the model first" in reason_for(
        tmp_path / "x.pt"
    )


def test_a_file_of_an_older_version_is_named(file: Path) -> None:
    old_format(file)
    assert "has no checksum at its end: it is cut off, of an older version or no checkpoint" in reason_for(
        file
    )


def test_the_malicious_pickle_of_these_tests_would_execute(tmp_path: Path) -> None:
    malicious(tmp_path / "x.pt")
    pickle.loads((tmp_path / "x.pt").read_bytes())
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("how", ["pickle", "torch", "with a valid checksum", "nested, with a valid checksum"])
def test_a_malicious_file_is_refused_and_not_executed(tmp_path: Path, how: str) -> None:
    path, marker = tmp_path / "last.pt", tmp_path / "executed"
    if how == "pickle":
        malicious(path)
    elif how == "torch":
        torch.save(Executes(marker), path)
    elif how == "with a valid checksum":
        checkpoints.save(Executes(marker), path)
    else:
        checkpoints.save(PAYLOAD | {"history": [Executes(marker)]}, path)
    reason = reason_for(path)
    assert ("is refused: it holds more than tensors" in reason) == ("valid" in how)
    assert not marker.exists()


@pytest.mark.parametrize("step", ["save", "fsync", "replace"])
def test_a_death_at_any_step_of_writing_leaves_the_old_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch if step == "save" else os, step, die)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save({"epoch": 4}, file, predecessor=file.with_name("previous.pt"))
    assert_whole(checkpoints.load(file))


@pytest.mark.parametrize("room", [0, 1000])
def test_a_full_disk_leaves_the_old_file_and_one_line(file: Path, room: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(
            UserError, match=r"last\.pt cannot be written \(.*\); what was there is kept"
        ) as caught:
            checkpoints.save({"epoch": 4}, file, predecessor=file.with_name("previous.pt"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert str(caught.value).isprintable()
    assert_whole(checkpoints.load(file))
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_the_predecessor_is_kept(file: Path) -> None:
    previous = file.with_name("previous.pt")
    checkpoints.save({"epoch": 4}, file, predecessor=previous)
    assert checkpoints.load(file) == {"epoch": 4}
    assert_whole(checkpoints.load(previous))


def test_a_writer_that_is_killed_leaves_whole_files(tmp_path: Path, tried: Tried) -> None:
    tried("kills of a checkpoint's writer", times(10, 300))
    last, previous = tmp_path / "last.pt", tmp_path / "previous.pt"
    generator = random.Random(1)
    for _ in range(times(10, 300)):
        child = os.fork()
        if child == 0:
            for epoch in range(10_000):
                checkpoints.save(PAYLOAD | {"epoch": epoch}, last, predecessor=previous)
            os._exit(0)
        time.sleep(generator.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for path in (last, previous):
            if path.exists():
                checkpoints.load(path)
        if previous.exists():
            assert last.exists() or checkpoints.load(previous)


def test_the_newest_whole_file_is_taken_and_the_others_are_named(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = file.with_name("newer.pt")
    broken.write_bytes(b"x")
    missing = file.with_name("missing.pt")
    found = checkpoints.load_newest(checkpoints.load, [missing, broken, file], "the training")
    assert_whole(found)
    assert not broken.exists()
    error = capsys.readouterr().err
    assert error == (
        f"warning: {broken}: is damaged: it has 1 bytes; remove it and train again; passed over and removed\n"
        f"warning: the training goes on from {file} instead\n"
    )
    file.write_bytes(b"")
    assert checkpoints.load_newest(checkpoints.load, [missing, file], "the training") is None
    assert "warning: the training starts anew: no whole checkpoint is left\n" in capsys.readouterr().err
    assert checkpoints.load_newest(checkpoints.load, [missing, file], "the training") is None
    assert capsys.readouterr().err == "", "nothing to go on from is no reason for a warning"
