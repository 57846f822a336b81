"""A real MLflow server that a test kills, stops for a while and starts again."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from pipelines.network import unreachable
from tests.imports import ROOT


def closed_port() -> int:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return int(closed.getsockname()[1])


class MlflowServer:
    """Its runs are in `folder`/server.db; `uri` answers between `start` and `kill`."""

    def __init__(self, folder: Path) -> None:
        port = closed_port()
        self.uri = f"http://127.0.0.1:{port}"
        # What `mlflow server` hands to its workers: it would start one more process for each of several jobs.
        variables = {
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/server.db",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": f"{folder}/server-artifacts",
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PYTHONPATH": str(ROOT),
        }
        self._holder = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.tracking.run_server", str(port)],
            cwd=folder,
            env=os.environ | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._pid = 0

    def start(self) -> None:
        """Start it and wait until it answers."""
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        print("start", file=self._holder.stdin, flush=True)
        self._pid = int(self._holder.stdout.readline())
        while unreachable(f"{self.uri}/health", 60):
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill it, if it runs, and wait until nothing answers."""
        if not self._pid:
            return
        os.kill(self._pid, signal.SIGKILL)
        self._pid = 0
        while unreachable(f"{self.uri}/health", 60) is None:  # the kernel has not closed its port yet
            time.sleep(0.01)

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self._pid, number)

    def end(self) -> None:
        """End it with its holder, whatever state they are in."""
        os.killpg(self._holder.pid, signal.SIGKILL)
        self._holder.communicate()
