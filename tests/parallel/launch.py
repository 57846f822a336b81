"""Run a script on local Horovod ranks over Gloo, as a user would with horovodrun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TWO_HOSTS = "localhost:{0},127.0.0.1:{0}"


def horovodrun(
    script: str | Path,
    *args: str,
    np: int = 2,
    hosts: str | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run `python script args` on `np` ranks on this machine; return the ranks' output, prefixed by rank.

    `hosts`: names of this machine with slots, each of which Horovod takes for a host of its own (`TWO_HOSTS`).

    The script path is taken from the repository root, which is on PYTHONPATH. Every rank gets one thread. There is no
    time limit but pytest's own: a busy machine would break any other.

    Raises:
        AssertionError: a rank failed; the message ends with both ranks' output.
    """
    bin_dir = Path(sys.executable).parent
    full_env = dict(os.environ)
    full_env["PATH"] = f"{bin_dir}{os.pathsep}{full_env.get('PATH', '')}"
    full_env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), full_env.get("PYTHONPATH", "")]))
    full_env["OMP_NUM_THREADS"] = "1"
    full_env.update(env or {})
    options = ["--disable-cache", "-np", str(np), "--gloo", "-H", hosts or f"localhost:{np}"]
    command = [str(bin_dir / "horovodrun"), *options, sys.executable, str(script), *args]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=full_env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate()
    except BaseException:  # pytest's time limit among them
        output = stop(process)
        print(f"{script} was ended; its output:\n{output}")
        raise
    assert process.returncode == 0, f"{script} failed with status {process.returncode}:\n{output}"
    return output


def stop(process: subprocess.Popen[str]) -> str:
    """End horovodrun and its ranks; return their output."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        output, _ = process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
    return output
