from pathlib import Path

from tests.parallel.launch import horovodrun


def test_horovod_ddp_and_virtual_cluster_agree(tmp_path: Path) -> None:
    output = horovodrun("tests/parallel/gq/run_bridges.py", str(tmp_path / "store"))
    assert "checks passed" in output, output
