"""tools/progress.py: what it says of a run of DVC, and that it loses no line and no time."""

import json
import os
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from tests.imports import ROOT
from tools.progress import Progress, duration, needed, read_seconds

NAMES = ["prepare", "train@50", "train@100", "report"]


def test_a_stage_is_announced_with_its_number_and_the_time_to_go() -> None:
    progress = Progress(list(NAMES), {"prepare": 5.0, "train@50": 50.0, "train@100": 130.0, "report": 10.0})
    progress.read("Stage 'prepare' didn't change, skipping\n", 0.0)
    line = progress.read("Running stage 'train@100':\n", 1.0)
    # train@100 itself, train@50 and report: 190 s
    assert line == "== stage 2 of 4: train@100, 2 min last time; at most 3 min to go"
    progress.read("Updating lock file 'dvc.lock'\n", 71.5)
    assert progress.seconds == {"train@100": 70.5}
    line = progress.read("Running stage 'report':\n", 72.0)
    assert line == "== stage 3 of 4: report, 10 s last time; at most 1 min to go"


def test_of_targets_only_what_they_need_is_counted() -> None:
    graph = 'strict digraph {"a"; "lone"; "a" -> "b"; "b" -> "c"; "x" -> "c"; "a" -> "d"; "c" -> "end";}'
    assert sorted(needed(graph, ["c", "d"])) == ["a", "b", "c", "d", "x"]
    assert needed("", ["c"]) == ["c"], "DVC could not tell"


def test_stages_without_times_are_counted_and_failed_ones_get_none() -> None:
    progress = Progress(list(NAMES), {"report": 10.0})
    line = progress.read("Running stage 'prepare':\n", 0.0)
    assert line == "== stage 1 of 4: prepare; at most 10 s to go and 3 stages of unknown time"
    progress.read("ERROR: failed to reproduce 'prepare'\n", 1.0)
    progress.read("Running stage 'train@50':\n", 2.0)
    progress.read("Updating lock file 'dvc.lock'\n", 5.0)
    assert progress.seconds == {"train@50": 3.0}
    assert progress.summary() == "== 2 stages run, 0 up to date, of 4"
    assert Progress(["a"], {}).read("Running stage 'other.yaml:b':\n", 0.0) == "== stage 1 of 2: other.yaml:b"


def test_durations_are_in_words() -> None:
    assert [duration(seconds) for seconds in (0.4, 59.4, 60, 3540, 7500)] == [
        "0 s",
        "59 s",
        "1 min",
        "59 min",
        "2 h 05 min",
    ]


def test_a_damaged_file_of_times_is_none(tmp_path: Path) -> None:
    file = tmp_path / "times.json"
    for text in ("", "[1]", '{"a": "b"}', '{"a": null}', "{"):
        file.write_text(text)
        assert read_seconds(file) == {}
    assert read_seconds(tmp_path / "missing") == {}


def test_with_a_real_dvc(tmp_path: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["dvc", "init", "--no-scm", "--quiet"], cwd=tmp_path, env=environment, check=True)
    stages = {
        "one": {"cmd": "echo told by one && echo 1 > one", "outs": ["one"]},
        "two": {"cmd": "cp one two", "deps": ["one"], "outs": ["two"]},
    }
    YAML().dump({"stages": stages}, tmp_path / "dvc.yaml")
    answers = []
    for _ in range(2):
        answer = subprocess.run(
            [ROOT / "tools/repro.sh"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        answers.append(answer.stdout)
    first, second = answers
    assert "told by one\n" in first
    assert (
        first.index("== stage 1 of 2: one") < first.index("told by one") < first.index("== stage 2 of 2: two")
    )
    assert "== 2 stages run, 0 up to date, of 2" in first
    assert "== 0 stages run, 2 up to date, of 2" in second
    assert "Pipeline finished" in second
    assert set(json.loads((tmp_path / ".dvc/tmp/stage_seconds.json").read_text())) == {"one", "two"}
