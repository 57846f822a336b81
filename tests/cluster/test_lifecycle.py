"""A cluster's addresses stay inside, and nothing of it is left, however it ends."""

import json
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cluster import EmulatedCluster
from pipelines.cluster.cluster import namespace_members
from pipelines.cluster.ssh import RUN_VARIABLE
from pipelines.errors import UserError
from tests.cluster.traces import alive, host_state, supervisors, wait_until

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("machine")


def test_nodes_have_their_own_names_addresses_and_files() -> None:
    before, others = host_state(), supervisors()
    with EmulatedCluster(nodes=3, rate="1gbit") as cluster:
        # Bridge, links, mounts, /run and /etc/hosts of the host do not change while the cluster is up either.
        assert host_state() == before
        for node in range(3):
            output = cluster.run(
                ["sh", "-c", "hostname; ls /sys/class/net; ip -4 -o address"], node=node
            ).stdout
            assert output.split()[:3] == [f"node{node}", "eth0", "lo"]
            assert f"10.77.0.{node + 1}/24" in output
        members = [pid for pid, _ in namespace_members(cluster.pid)]
        assert len(members) == 4  # the supervisor and three sshds: commands that ended left nothing
    assert host_state() == before
    assert supervisors() <= others
    assert not any(map(alive, members))


def test_nodes_reach_each_other_and_themselves_by_ssh_without_questions() -> None:
    with EmulatedCluster(nodes=2, rate=None) as cluster:
        for node, target in [(0, 1), (1, 0), (0, 0)]:
            result = cluster.run(["ssh", f"node{target}", "hostname"], node=node)
            assert (result.returncode, result.stdout) == (0, f"node{target}\n")


def test_commands_get_folder_environment_and_return_their_status() -> None:
    with EmulatedCluster() as cluster:
        environment = {**os.environ, "GQB_TEST": "a b'c"}
        result = cluster.run(["sh", "-c", 'pwd; echo "$GQB_TEST"; echo error >&2; exit 7'], environment)
        assert (result.returncode, result.stdout) == (7, f"{Path.cwd()}\na b'c\nerror\n")
        with cluster.started(["sh", "-c", "echo first; sleep 0.5; echo last"]) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "first\n"
            assert process.poll() is None  # the line arrived while the command still ran
        assert process.returncode == 0


def test_two_clusters_do_not_meet() -> None:
    with EmulatedCluster() as one, EmulatedCluster() as other:
        assert one.run(["ssh", "node1", "true"]).returncode == 0
        before = other.interface_bytes(1)
        one.run(["sh", "-c", "head -c 1000000 /dev/zero | ssh node1 'cat > /dev/null'"])
        assert one.interface_bytes(1).received > 1_000_000
        assert other.interface_bytes(1).received - before.received < 10_000


def test_an_error_in_the_block_ends_the_cluster_and_its_commands() -> None:
    before = host_state()
    members: list[int] = []

    def fail() -> None:
        with EmulatedCluster() as cluster, cluster.started(["sleep", "1000"]):
            members.extend(pid for pid, _ in namespace_members(cluster.pid))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(members) >= 3  # the supervisor, two sshds and perhaps the command already
    assert not any(map(alive, members))
    assert host_state() == before


@pytest.mark.parametrize("remote", [False, True], ids=["node0", "node1"])
def test_a_command_that_takes_too_long_leaves_no_process(remote: bool) -> None:
    command = ["ssh", "node1", "sleep 1000"] if remote else ["sleep", "1000"]
    with EmulatedCluster() as cluster:
        with pytest.raises(subprocess.TimeoutExpired):
            cluster.run(command, timeout_seconds=1)
        assert wait_until(lambda: len(namespace_members(cluster.pid)) == 3)  # the supervisor and two sshds
        assert cluster.run(["ssh", "node1", "hostname"]).stdout == "node1\n"


def test_a_command_that_fails_leaves_no_process_on_another_node() -> None:
    with EmulatedCluster() as cluster:
        result = cluster.run(["sh", "-c", "ssh node1 sleep 1000 > /dev/null 2>&1 & sleep 0.5; exit 3"])
        assert result.returncode == 3
        assert wait_until(lambda: len(namespace_members(cluster.pid)) == 3)


def test_a_session_without_a_command_is_seen() -> None:
    with EmulatedCluster() as cluster:
        with cluster.started(["ssh", "node1", "echo there; read line"]) as command:
            assert command.stdout is not None
            assert command.stdout.readline() == "there\n"
            # The process by which sshd has let this session in may take a moment to end.
            assert wait_until(lambda: cluster._sessions_without_command() == [])
            with cluster.started(["ssh", "-N", "node1"]) as session:
                assert wait_until(lambda: len(cluster._sessions_without_command()) == 1)
                os.killpg(session.pid, signal.SIGTERM)
            os.killpg(command.pid, signal.SIGTERM)
        assert wait_until(lambda: cluster._sessions_without_command() == [])


def test_what_a_session_starts_after_the_failure_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = "mark"
    monkeypatch.setattr(secrets, "token_hex", lambda _: mark)
    late = ["sh", "-c", f"sleep 0.3; exec env {RUN_VARIABLE}={mark} sleep 1000"]
    with EmulatedCluster() as cluster:
        started: list[subprocess.Popen[bytes]] = []

        def starting() -> list[int]:
            """As of a session that starts `late`."""
            if not started:
                started.append(subprocess.Popen(cluster.enter_command(late, node=1)))
            if cluster._marked(mark):
                return []
            return [process.pid for process in started if process.poll() is None]

        monkeypatch.setattr(cluster, "_sessions_without_command", starting)
        assert cluster.run(["false"]).returncode == 1
        assert [process.wait() for process in started] == [-signal.SIGKILL]


def test_a_command_that_fails_leaves_other_runs_alone() -> None:
    with EmulatedCluster() as cluster:
        with cluster.started(["ssh", "node1", "echo there; sleep 2; hostname"]) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "there\n"
            failed = cluster.run(["sh", "-c", "ssh node1 sleep 1000 > /dev/null 2>&1 & sleep 0.5; exit 3"])
            assert failed.returncode == 3
            assert other.stdout.read() == "node1\n"
        assert other.returncode == 0
        assert wait_until(lambda: len(namespace_members(cluster.pid)) == 3)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_cluster_ends_with_the_process_that_holds_it(ending: signal.Signals) -> None:
    before = host_state()
    command = [sys.executable, "-m", "tests.cluster.run_holder"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as holder:
        try:
            assert holder.stdout is not None
            # A helper of ssh's login may have ended since the holder looked.
            members = [pid for pid in json.loads(holder.stdout.readline()) if alive(pid)]
            assert len(members) >= 6  # the supervisor, two sshds, a session and two sleeps
            holder.send_signal(ending)
            assert wait_until(lambda: holder.poll() is not None)
        finally:
            holder.kill()
    assert wait_until(lambda: not any(map(alive, members)))
    assert host_state() == before


def test_an_sshd_that_dies_takes_the_cluster_along_and_runs_say_so() -> None:
    with EmulatedCluster() as cluster:
        cluster.run(["sh", "-c", f"kill -KILL {' '.join(map(str, cluster.node_pids))}"])
        assert wait_until(lambda: not alive(cluster.pid))
        with pytest.raises(UserError, match="is down"):
            cluster.run(["true"])
