"""The first process of a cluster's namespaces: builds the cluster, holds it, takes everything along when it ends.

`python -m pipelines.cluster.supervisor SPEC [--detached FOLDER]`, started through `unshare` (see `cluster.boot`). It
prints one line of JSON, `{"pid": ..., "nodes": [...]}` or `{"error": ...}`. It ends when its standard input
does, that is with the process that started it, however that ends; after the line `detach` it stays.
"""

import json
import os
import signal
import sys
import time
import traceback as traceback_module
from pathlib import Path
from types import FrameType, TracebackType

from pipelines.cluster import kernel
from pipelines.cluster.node import SetupError, command, shape, start_node
from pipelines.cluster.protocol import DETACH, STATE
from pipelines.cluster.requirements import HIDDEN_FOLDER
from pipelines.cluster.spec import ClusterSpec
from pipelines.cluster.ssh import FOLDER, log_file, pid_file, user_name, write_ssh_files

BRIDGE = "bridge"
SSHD_START_SECONDS = 10.0


def main() -> None:
    """Build the cluster, report, hold it."""
    # Before /proc is mounted anew it still tells this process's number in the caller's namespace.
    pid = int(os.readlink("/proc/self"))
    signal.signal(signal.SIGTERM, _end)
    sys.excepthook = _report_defect
    try:
        spec = ClusterSpec.from_json(sys.argv[1])
        _make_private_files(spec)
        state = {"pid": pid, "nodes": _build(spec), "spec": sys.argv[1]}
        STATE.write_text(json.dumps(state), encoding="utf-8")
    except (SetupError, OSError) as error:
        _report(str(error))
        sys.exit(1)
    print(json.dumps(state), flush=True)
    _hold()


def _report(error: str) -> None:
    print(json.dumps({"error": error}), flush=True)


def _report_defect(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    # Standard error leads nowhere: a detached cluster must not hold on to anybody's terminal.
    place = traceback_module.extract_tb(traceback)[-1]
    _report(f"{kind.__name__}: {error} ({place.filename}:{place.lineno})")


def _make_private_files(spec: ClusterSpec) -> None:
    """Mount this cluster's own /proc and /run, in memory; fill the latter and put its files over two of /etc."""
    kernel.mount("proc", Path("/proc"), "proc")
    kernel.mount("tmpfs", HIDDEN_FOLDER, "tmpfs", "mode=0755")
    # Where Debian's sshd separates privileges; other systems' packages bring a folder elsewhere.
    (HIDDEN_FOLDER / "sshd").mkdir(mode=0o755)
    FOLDER.mkdir(mode=0o700)
    write_ssh_files(spec)
    lines = [f"{spec.address(index)} {name}\n" for index, name in enumerate(spec.node_names)]
    hosts = FOLDER / "hosts"
    hosts.write_text("127.0.0.1 localhost\n::1 localhost\n" + "".join(lines), encoding="ascii")
    kernel.bind(hosts, Path("/etc/hosts"))
    # Without PAM sshd refuses an account whose password is locked, as root's is on Ubuntu. `*` is not locked, and
    # no password fits it.
    shadow = FOLDER / "shadow"
    shadow.write_text(f"{user_name()}:*:::::::\n", encoding="utf-8")
    if Path("/etc/shadow").exists():
        kernel.bind(shadow, Path("/etc/shadow"))


def _build(spec: ClusterSpec) -> list[int]:
    """Make bridge, nodes and links; return the nodes' process numbers once every sshd listens."""
    command("ip", "link", "add", "name", BRIDGE, "type", "bridge")
    command("ip", "link", "set", BRIDGE, "mtu", str(spec.mtu), "up")
    nodes = []
    for index, name in enumerate(spec.node_names):
        nodes.append(start_node(spec, index))
        command("ip", "link", "set", name, "master", BRIDGE, "up")
        shape(name, spec.rate)
    deadline = time.monotonic() + SSHD_START_SECONDS
    for pid, name in zip(nodes, spec.node_names, strict=True):
        while not pid_file(name).exists():
            if os.waitpid(pid, os.WNOHANG)[0] or time.monotonic() > deadline:
                raise SetupError(f"sshd does not start on {name}: {_last_line(log_file(name))}")
            time.sleep(0.005)
    return nodes


def _last_line(file: Path) -> str:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    return lines[-1] if lines else "it says nothing"


def _hold() -> None:
    """Reap the processes that the nodes leave to this one until standard input ends (see the module)."""
    signal.signal(signal.SIGCHLD, _reap)
    if sys.stdin.readline().strip() != DETACH:
        return
    with open(os.devnull, "r+b") as null:
        for descriptor in (0, 1, 2):
            os.dup2(null.fileno(), descriptor)
    while True:
        signal.pause()


def _reap(_signal: int, _frame: FrameType | None) -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        # No child at all: the sshds are gone, and with them the cluster.
        os._exit(1)


def _end(_signal: int, _frame: FrameType | None) -> None:
    os._exit(0)


if __name__ == "__main__":
    main()
