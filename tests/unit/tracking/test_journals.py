"""Journals: what killed processes could not send, what cannot be read or sent, and what nobody should send."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.tracking import Role, open_run
from pipelines.tracking.journal import FOLDER, pending, read
from pipelines.tracking.sending import send
from tests.imports import ROOT
from tests.unit.tracking.logged import HISTORY, content
from tests.unit.tracking.server import closed_port
from tests.unit.tracking.stores import config

pytestmark = pytest.mark.usefixtures("own_journals")


def die(uri: str, experiment: str, epochs: int) -> None:
    """Run a training's process whose store is away until it kills itself."""
    command = [sys.executable, "-m", "tests.unit.tracking.run_unfinished", uri, experiment, str(epochs)]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_what_killed_processes_could_not_send_becomes_one_run(base: Path) -> None:
    away = f"http://127.0.0.1:{closed_port()}"
    store_uri = f"sqlite:///{base}/mlflow.db"
    die(away, "killed twice", 1)
    die(away, "killed twice", 2)
    first, second = pending()
    # A kill in the middle of a line, and a journal that its process still holds: neither stops the others.
    with (second / "calls.jsonl").open("ab") as calls:
        calls.write(b'{"target": null, "name": "log_hi')
    assert [len(read(folder).calls) for folder in (first, second)] == [1, 2]
    assert send(config("killed twice", store_uri)).runs == 2
    (run,) = content(store_uri, "killed twice")
    assert run["status"] == "KILLED"
    with open_run(
        config("killed twice", store_uri), "train", "m", {"seed": 1}, role=Role.MODEL, resumes=True
    ) as tracker:
        tracker.log_history(HISTORY)
    found = {one["name"]: one for one in content(store_uri, "killed twice")}
    assert found["m"]["status"] == "FINISHED"
    losses = {number: count for number, count in found["m"]["numbers"].items() if number[0] == "loss"}
    assert losses == {("loss", e, repr(1 / e), 2000 * e): 1 for e in (1, 2, 3)}


def test_what_is_still_being_written_is_not_sent(base: Path) -> None:
    away = config("held", f"http://127.0.0.1:{closed_port()}")
    here = config("held", f"sqlite:///{base}/mlflow.db")
    with open_run(away, "train", "m", {"seed": 1}) as tracker:
        tracker.log_history(HISTORY)
        sent = send(here)
        assert (sent.runs, sent.held) == (0, 1)
    assert (send(here).runs, pending()) == (1, [])


@pytest.mark.parametrize("damage", ["no json\n", '{"opening": "of another version"}\n', ""])
def test_a_journal_that_cannot_be_read_is_kept_and_named(damage: str, base: Path) -> None:
    for name in ("1-1-first", "2-2-second"):
        (FOLDER / name).mkdir(parents=True)
        (FOLDER / name / "lock").touch()
        (FOLDER / name / "calls.jsonl").write_text(damage)
    sent = send(config("damaged", f"sqlite:///{base}/mlflow.db"))
    assert {folder.name for folder in sent.refused} == {"1-1-first.refused", "2-2-second.refused"}
    assert all((folder / "calls.jsonl").read_text() == damage for folder in sent.refused)
    assert not pending()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("__init__", {}),
        ("run_of", {}),
        ("log_figure", {"path": "/etc/hostname"}),
        ("log_artifact", {"path": "files/../../../x"}),
    ],
)
def test_a_hostile_journal_calls_nothing_and_sends_no_file_of_others(
    name: str, arguments: dict[str, str], base: Path
) -> None:
    away = config("hostile", f"http://127.0.0.1:{closed_port()}")
    with open_run(away, "train", "m", {"seed": 1}) as tracker:
        tracker.log_history(HISTORY)
    with (pending()[0] / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps({"target": None, "name": name, "arguments": arguments, "moment": 1}) + "\n")
    sent = send(config("hostile", f"sqlite:///{base}/mlflow.db"))
    assert (sent.runs, len(sent.refused)) == (0, 1)
    assert content(f"sqlite:///{base}/mlflow.db", "hostile") == []


def test_a_record_that_the_store_refuses_does_not_stop_the_others(base: Path) -> None:
    away = config("refused", f"http://127.0.0.1:{closed_port()}")
    for seed in (1, 2):
        with open_run(away, "train", f"m{seed}", {"seed": seed}) as tracker:
            tracker.log_history(HISTORY)
    calls = pending()[0] / "calls.jsonl"
    opening, first, *rest = calls.read_text().splitlines()
    wrong = json.loads(first) | {
        "name": "set_tags",
        "arguments": {"tags": {"a name with a bad sign: \u0007": "x"}},
    }
    calls.write_text("\n".join([opening, json.dumps(wrong), *rest]) + "\n")
    sent = send(config("refused", f"sqlite:///{base}/mlflow.db"))
    assert (sent.runs, len(sent.refused)) == (1, 1)
    assert any(run["name"] == "m2" for run in content(f"sqlite:///{base}/mlflow.db", "refused"))
