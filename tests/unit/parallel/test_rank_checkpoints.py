"""A rank's damaged checkpoint is named and passed over; what all ranks share is tested with real ranks."""

from pathlib import Path

import pytest

from pipelines import checkpoints
from pipelines.parallel.run import checkpoint
from tests.damage import DAMAGES, Damage


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_rank_checkpoint_is_passed_over(
    tmp_path: Path, damage: Damage, capsys: pytest.CaptureFixture[str]
) -> None:
    for epoch in (3, 4):
        checkpoints.save({"fingerprint": "f", "epoch": epoch}, checkpoint.rank_file(tmp_path, 1, epoch))
    damage(broken := checkpoint.rank_file(tmp_path, 1, 4))
    assert checkpoint._load_whole(tmp_path, 1) == {3: {"fingerprint": "f", "epoch": 3}}
    error = capsys.readouterr().err
    assert f"warning: {broken}: " in error
    assert f"the run in {tmp_path} goes on from epoch 3 or before\n" in error
    assert not (tmp_path / "executed").exists()
    damage(checkpoint.rank_file(tmp_path, 1, 3))
    assert checkpoint._load_whole(tmp_path, 1) == {}
    assert f"the run in {tmp_path} starts anew\n" in capsys.readouterr().err


@pytest.mark.parametrize("payload", [["a list"], {"epoch": 3}])
def test_a_file_of_another_kind_is_passed_over(
    tmp_path: Path, payload: object, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints.save(payload, checkpoint.rank_file(tmp_path, 0, 3))
    assert checkpoint._load_whole(tmp_path, 0) == {}
    assert "is no checkpoint of a distributed run" in capsys.readouterr().err
