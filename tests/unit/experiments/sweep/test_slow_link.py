"""The slow link of the main pipeline where it can be measured and where it cannot, the cluster itself replaced."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.experiments.sweep import SweepJob, slow_link
from tests.configs import composed


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def params(folder: Path, **distributed: Any) -> Path:
    document = composed()
    document["distributed"] |= distributed
    path = folder / "params.yaml"
    path.write_text(json.dumps(document))  # JSON is YAML
    return path


def result() -> Any:
    return json.loads(Path("results/slow_link.json").read_text())


def refuse(*_: object) -> None:
    raise UserError("this kernel lets nobody make bridges")


def test_without_the_right_to_a_cluster_one_line_says_so_and_nothing_is_measured(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(slow_link.requirements, "check", refuse)
    monkeypatch.setattr(slow_link, "measure", lambda *_: pytest.fail("it was measured"))
    slow_link.measure_slow_link(params(folder), ["program"])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(
        "slow_link: not measured, its rows are predicted: this kernel lets nobody make bridges; "
    )
    assert result() == {"measured": False, "reason": "this kernel lets nobody make bridges", "rows": []}


def test_every_cell_is_measured_by_a_program_that_names_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(job: SweepJob, program: Sequence[str]) -> list[dict[str, Any]]:
        assert job.part_file(2) == Path("checkpoints/slow_link/densenet100-100mbit-2.json")
        return [{"model": job.model, "batch": job.sweep.batch_size, "program": list(program)}]

    monkeypatch.setattr(slow_link, "check_cluster", lambda _: None)
    monkeypatch.setattr(slow_link, "measure", measure)
    slow_link.measure_slow_link(params(folder, batch_size=24), ["program"])
    program = ["program", "--model", "densenet100", "--link", "100mbit"]
    rows = [{"model": "densenet100", "batch": 24, "program": program}]
    assert result() == {"measured": True, "reason": None, "rows": rows}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (
            {"models": ["densenet50"]},
            r"none of slow_link\.models \['densenet100'\] is one of distributed\.models",
        ),
        ({"methods": ["sdp_fp16"]}, r"none of slow_link\.methods .* is one of distributed\.methods"),
        ({"hosts": "a:1,b:1"}, "distributed.hosts names other machines"),
    ],
)
def test_what_the_distributed_runs_lack_is_not_measured(
    folder: Path, changed: dict[str, Any], reason: str
) -> None:
    path = params(folder, **changed)
    slow_link.measure_slow_link(path, ["program"])
    assert not result()["measured"]
    with pytest.raises(UserError, match=reason):
        slow_link.load_job("densenet100", "100mbit", path)


def test_a_run_that_fails_on_a_cluster_that_stands_is_no_reason_to_predict(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_link, "check_cluster", lambda _: None)
    monkeypatch.setattr(slow_link, "measure", refuse)
    with pytest.raises(UserError, match="nobody"):
        slow_link.measure_slow_link(params(folder), ["program"])
    assert not Path("results").exists()
