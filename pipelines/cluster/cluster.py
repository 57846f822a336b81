"""A running emulated cluster, seen from outside: start it, run commands on its nodes, read its counters."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from pipelines.cluster import requirements
from pipelines.cluster.counters import InterfaceBytes, read_interface_bytes
from pipelines.cluster.node import INTERFACE
from pipelines.cluster.protocol import SUPERVISOR
from pipelines.cluster.spec import ClusterSpec
from pipelines.cluster.ssh import RUN_VARIABLE, WRAPPERS
from pipelines.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
GRACE_SECONDS = 10.0
SESSION_SECONDS = 60.0
"""How long a run that has failed waits for sessions of sshd to start their commands, or to end."""


class Cluster:
    """A cluster that is up: `pid` is its supervisor, `node_pids` the nodes' sshds as the cluster numbers them."""

    def __init__(self, spec: ClusterSpec, pid: int, node_pids: Sequence[int]) -> None:
        self.spec = spec
        self.pid = pid
        self.node_pids = tuple(node_pids)

    def enter_command(self, command: Sequence[str], node: int = 0) -> list[str]:
        """Return the command line that runs `command` on `node`, in the present working folder."""
        namespaces = self._proc(node) / "ns"
        user = [] if os.geteuid() == 0 else [f"--user=/proc/{self.pid}/ns/user", "--preserve-credentials"]
        kinds = {"mount": "mnt", "net": "net", "uts": "uts"}
        inside = [f"--{option}={namespaces / file}" for option, file in kinds.items()]
        nsenter = [requirements.program("nsenter"), *user, *inside, f"--pid=/proc/{self.pid}/ns/pid", "--"]
        # nsenter leaves a command in the root folder; coreutils' env brings it back.
        return [*nsenter, "env", f"--chdir={Path.cwd()}", *command]

    def horovodrun_command(self, workers: int, program: Sequence[str]) -> list[str]:
        """Return the `horovodrun` command line, to be run on node0, that starts `workers` of `program`."""
        horovodrun = str(Path(sys.executable).with_name("horovodrun"))
        # Horovod's cache of checks lives in the home folder and knows nothing of clusters that come and go.
        options = ["--gloo", "--disable-cache", "--network-interfaces", INTERFACE]
        return [horovodrun, *options, "-np", str(workers), "-H", self.spec.hosts(workers), *program]

    def interface_bytes(self, node: int) -> InterfaceBytes:
        """Return the kernel's byte counters of eth0 on `node`."""
        return read_interface_bytes(INTERFACE, self._proc(node) / "net/dev")

    @contextlib.contextmanager
    def started(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        node: int = 0,
        piped: bool = True,
    ) -> Iterator[subprocess.Popen[str]]:
        """Run `command` on `node` for the time of a `with` block, which may read its output line by line.

        `environment` replaces the caller's; PATH gets the cluster's `ssh` in front. Standard output and error
        come through the one pipe `stdout` of the process, unless `piped` is False. At the end of the block the
        command is waited for; where the block raises, the command is interrupted. A command that did not end
        well leaves no process on any node, except one that has cleared its environment; other commands go on.
        Signals go to its process group (`os.killpg`): `process` itself is the `nsenter` that waits for it.
        """
        variables = dict(os.environ if environment is None else environment)
        variables["PATH"] = f"{WRAPPERS}{os.pathsep}{variables.get('PATH', os.defpath)}"
        variables[RUN_VARIABLE] = mark = secrets.token_hex(16)
        process = subprocess.Popen(
            self.enter_command(command, node),
            env=variables,
            stdin=subprocess.DEVNULL if piped else None,
            stdout=subprocess.PIPE if piped else None,
            stderr=subprocess.STDOUT if piped else None,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            yield process
            if process.poll() is None:
                process.communicate()
        finally:
            self._finish(process, mark)

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        node: int = 0,
        timeout_seconds: float | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` on `node` and return its status and its output, standard error included.

        Raises:
            subprocess.TimeoutExpired: it took longer than `timeout_seconds`; it has been ended.
        """
        with self.started(command, environment, node=node) as process:
            output, _ = process.communicate(timeout=timeout_seconds)
            return subprocess.CompletedProcess(list(command), process.returncode, output)

    def _proc(self, node: int) -> Path:
        if not 0 <= node < self.spec.nodes:
            raise UserError(f"node {node} does not exist: this cluster has 0 to {self.spec.nodes - 1}")
        # The cluster's own /proc, reached through its supervisor.
        folder = Path(f"/proc/{self.pid}/root/proc/{self.node_pids[node]}")
        if not folder.exists():
            raise UserError("this cluster is down: its supervisor or an sshd was ended; start it again")
        return folder

    def _finish(self, process: subprocess.Popen[str], mark: str) -> None:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=GRACE_SECONDS)
        if process.returncode != 0:
            self._end_marked(mark)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def _end_marked(self, mark: str) -> None:
        """Kill the processes of the run that has this mark, and those that an sshd is about to start for it.

        horovodrun that is interrupted ends its ssh, not what that started on other nodes. Sessions of other runs that
        have no command yet, or never get one (`ssh -N`), are waited for, too, at most `SESSION_SECONDS`.
        """
        deadline = time.monotonic() + SESSION_SECONDS
        while time.monotonic() < deadline:
            starting = self._sessions_without_command()
            marked = self._marked(mark)
            for pid in marked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not marked and not starting:
                return
            time.sleep(0.02)

    def _sessions_without_command(self) -> list[int]:
        """Return the sshd sessions under which no command runs: each has still to start one, or ends."""
        try:
            inside = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:  # the cluster is down
            return []
        servers, parents = {}, {}
        for process in inside:
            with contextlib.suppress(psutil.NoSuchProcess):
                parents[process.pid] = process.ppid()
                servers[process.pid] = process.name().startswith("sshd")
        busy = set(parents.values())
        # What an sshd has forked is a session; the first one of a node listens.
        return [
            pid for pid, parent in parents.items() if servers[pid] and servers.get(parent) and pid not in busy
        ]

    def _marked(self, mark: str) -> list[int]:
        """Return the processes of the run that has this mark, on all nodes, as numbered out here."""
        pids = []
        for pid, _ in namespace_members(self.pid):
            # sshd's own may not be looked at by an ordinary user; they end with what they have started.
            with contextlib.suppress(OSError):
                variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                if f"{RUN_VARIABLE}={mark}".encode() in variables:
                    pids.append(pid)
        return pids


class EmulatedCluster(Cluster):
    """A cluster for the time of a `with` block; it ends with the block or with this process, however that ends."""

    def __init__(
        self,
        nodes: int = 2,
        rate: str | None = "100mbit",
        slots_per_node: int = 1,
        mtu: int = 9000,
    ) -> None:
        super().__init__(ClusterSpec(nodes=nodes, rate=rate, slots_per_node=slots_per_node, mtu=mtu), 0, ())
        self._supervisor: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Start the cluster; UserError where the machine cannot carry one."""
        self._supervisor, state = boot(self.spec)
        self.pid, self.node_pids = state.pid, state.node_pids
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """End everything in the cluster."""
        assert self._supervisor is not None
        # The supervisor ends at the end of its input, and with it the kernel ends everything in there.
        assert self._supervisor.stdin is not None
        assert self._supervisor.stdout is not None
        self._supervisor.stdin.close()
        self._supervisor.stdout.close()
        self._supervisor.wait()


def boot(spec: ClusterSpec, *arguments: str) -> tuple[subprocess.Popen[str], Cluster]:
    """Start a supervisor with `arguments`, wait until its cluster stands; it ends with this process.

    Raises:
        UserError: the machine cannot carry a cluster, or a step of building it failed.
    """
    requirements.check()
    environment = dict(os.environ)
    environment["PATH"] = requirements.search_path()
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [*requirements.unshare_command(), sys.executable, "-m", SUPERVISOR, spec.to_json(), *arguments],
        cwd="/",
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        state = json.loads(process.stdout.readline() or '{"error": "its supervisor ended at once"}')
        if "error" in state:
            raise UserError(f"the emulated cluster could not be built: {state['error']}")
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process, Cluster(spec, state["pid"], state["nodes"])


def namespace_members(pid: int) -> list[tuple[int, int]]:
    """Return the processes in the PID namespace of `pid`, each numbered as out here and as in there."""
    members = []
    # A process may end between any two looks at it, and others' may not be looked at.
    with contextlib.suppress(OSError):
        namespace = os.stat(f"/proc/{pid}/ns/pid").st_ino
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (folder / "ns/pid").stat().st_ino == namespace:
                    members.append((int(folder.name), inner_pid(folder)))
    return members


def inner_pid(folder: Path) -> int:
    """Return the number, in its innermost PID namespace, of the process with this folder of /proc."""
    for line in (folder / "status").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    raise ProcessLookupError(f"{folder} has no NSpid")
