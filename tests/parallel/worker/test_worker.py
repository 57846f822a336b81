"""Launches run_worker.py on two real Horovod ranks."""

from pathlib import Path

from ruamel.yaml import YAML

from tests.configs import UNCOMPILED
from tests.imports import ROOT
from tests.parallel.launch import horovodrun


def test_worker_on_two_ranks(tmp_path: Path) -> None:
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["prepare"] |= {"train_limit": 200, "test_limit": 100}
    params["recipe"] |= {"epochs": 2, "batch_size": 16}
    params["distributed"] |= {"epochs": 2, "batch_size": 16, "warmup_steps": 1, "local_steps": 1}
    with (tmp_path / "params.yaml").open("w") as file:
        yaml.dump(params, file)
    horovodrun(ROOT / "tests/parallel/worker/run_worker.py", str(tmp_path / "params.yaml"), env=UNCOMPILED)
