"""`python -m stages.cluster`: up, run, status and down as separate commands."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.cluster import find_detached, stop_detached
from tests.cluster.traces import alive, host_state, wait_until

ROOT = Path(__file__).resolve().parents[2]


def stage(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stages.cluster", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture
def nothing_up(machine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder of its own: a cluster is one of the folder that it was started in."""
    monkeypatch.chdir(tmp_path)
    yield
    stop_detached()


@pytest.mark.usefixtures("nothing_up")
def test_up_run_status_down() -> None:
    before = host_state()
    up = stage("up", "--nodes", "3", "--rate", "1gbit")
    assert (up.returncode, up.stderr) == (0, "")
    pid = find_detached().pid
    again = stage("up")
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "up already" in again.stderr
    status = stage("status").stdout.splitlines()
    assert status[0].startswith("up: hosts node0:1,node1:1,node2:1, links 1gbit, mtu 9000")
    assert [line.split(":")[0] for line in status[1:]] == [f"node{i} 10.77.0.{i + 1}" for i in range(3)]
    run = stage("run", "--", "sh", "-c", "ssh node2 hostname; echo problem >&2; exit 5")
    assert (run.returncode, run.stdout, run.stderr) == (5, "node2\n", "problem\n")
    down = stage("down")
    assert (down.returncode, down.stdout) == (0, "ended 1 cluster(s)\n")
    assert not alive(pid)
    assert host_state() == before
    assert stage("down").stdout == "ended 0 cluster(s)\n"


@pytest.mark.usefixtures("nothing_up")
def test_a_cluster_that_ends_under_a_command_ends_it() -> None:
    assert stage("up").returncode == 0
    cluster = find_detached()
    ended = stage("run", "--", "sh", "-c", f"kill -KILL {' '.join(map(str, cluster.node_pids))}; sleep 1000")
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr


@pytest.mark.usefixtures("nothing_up")
def test_clusters_of_two_checkouts_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        monkeypatch.chdir(folder)
        assert stage("up").returncode == 0
    try:
        for folder in folders:
            monkeypatch.chdir(folder)
            assert stage("run", "--", "ssh", "node1", "pwd").returncode == 0
        monkeypatch.chdir(folders[0])
        assert stage("down").stdout == "ended 1 cluster(s)\n"
        monkeypatch.chdir(folders[1])
        assert alive(find_detached().pid)
    finally:
        for folder in folders:
            monkeypatch.chdir(folder)
            stop_detached()


@pytest.mark.usefixtures("nothing_up")
def test_down_and_up_work_after_a_kill() -> None:
    before = host_state()
    assert stage("up").returncode == 0
    pid = find_detached().pid
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not alive(pid))
    assert host_state() == before
    assert "no cluster is up" in stage("run", "--", "true").stderr
    assert stage("up").returncode == 0
    assert stage("down").stdout == "ended 1 cluster(s)\n"


@pytest.mark.usefixtures("nothing_up")
def test_a_terminated_run_ends_its_command_and_leaves_the_cluster_up() -> None:
    assert stage("up").returncode == 0
    command = [sys.executable, "-m", "stages.cluster", "run", "--", "sh", "-c", "echo started; sleep 1000"]
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "started\n"
        run.terminate()
    assert run.returncode == 143
    # Killed it is, but on a busy machine it may not be gone yet.
    assert wait_until(lambda: stage("run", "--", "pgrep", "-x", "sleep").stdout == "")
    assert stage("down").stdout == "ended 1 cluster(s)\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["up", "--nodes", "1"], "nodes is 1"),
        (["up", "--rate", "fast"], "rate 'fast'"),
        (["up", "--rate", "100"], "rate '100'"),
        (["up", "--rate", "-5mbit"], "rate"),
        (["up", "--rate", "0mbit"], "rate '0mbit'"),
        (["up", "--mtu", "100"], "mtu is 100"),
        (["up", "--slots-per-node", "0"], "slots_per_node is 0"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(arguments: list[str], said: str) -> None:
    result = stage(*arguments)
    assert result.returncode in (1, 2)
    assert said in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("nothing_up")
@pytest.mark.parametrize("arguments", [["status"], ["run", "--", "true"]])
def test_without_a_cluster_the_line_says_how_to_start_one(arguments: list[str]) -> None:
    result = stage(*arguments)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "stages.cluster up" in result.stderr


@pytest.mark.usefixtures("nothing_up")
def test_more_workers_than_slots_are_refused_in_one_line() -> None:
    stage("up")
    result = stage("run", "--np", "3", "--", "true")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "take from 1 to 2" in result.stderr
