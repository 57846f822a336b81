from pathlib import Path

from tests.parallel.launch import horovodrun


def test_low_rank_on_two_ranks(tmp_path: Path) -> None:
    output = horovodrun("tests/parallel/gq/run_lowrank.py", str(tmp_path / "store"))
    assert "checks passed" in output, output
