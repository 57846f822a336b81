"""make server: the database is made, started and stopped with the server; no address or secret is on a command line."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.imports import ROOT

# Stand for PostgreSQL's pg_ctl and for Python, which becomes the server: they note their calls.
FAKE_PG_CTL = """#!/usr/bin/env bash
echo "pg_ctl $*" >>"$CALLS"
while [ "$1" != --pgdata ] && [ $# -gt 1 ]; do verb=${verb:-$1}; shift; done
case "$verb" in
  init) touch "$2/PG_VERSION" ;;
  status) [ -e "$CALLS.up" ] ;;
  start) touch "$CALLS.up" ;;
  stop) rm "$CALLS.up" ;;
esac
"""
FAKE_PYTHON = """#!/usr/bin/env bash
[ "$1" = - ] && { cat >/dev/null; exit; }
[ "$1" = -c ] && exit "${NO_PSYCOPG:-0}"
echo "python $*" >>"$CALLS"
echo "database $MLFLOW_BACKEND_STORE_URI artifacts $MLFLOW_ARTIFACTS_DESTINATION" >>"$CALLS"
exec sleep 600
"""
FAKE_RUNUSER = """#!/usr/bin/env bash
shift 3
exec "$@"
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    programs = tmp_path / "bin"
    programs.mkdir()
    fakes = {"pg_ctl": FAKE_PG_CTL, "python": FAKE_PYTHON, "runuser": FAKE_RUNUSER, "chown": "#!/bin/sh\n"}
    for name, text in fakes.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    started: list[subprocess.Popen[str]] = []

    def run(**variables: str) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
        environment |= {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "CALLS": str(tmp_path / "calls"),
            "GQBENCH_SERVER_HOME": str(tmp_path / "home"),
        }
        process = subprocess.Popen(
            [str(ROOT / "tools/server.sh")],
            env=environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def calls_until(start_of_line: str, process: subprocess.Popen[str], calls: Path) -> list[str]:
    """Return what was called once a line begins so; fail where the script ends before."""
    while True:
        lines = calls.read_text().splitlines() if calls.exists() else []
        if any(line.startswith(start_of_line) for line in lines):
            return lines
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


def end(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def test_server_has_its_database_and_ends_with_it(start: Start, tmp_path: Path) -> None:
    process = start()
    lines = calls_until("database", process, tmp_path / "calls")
    home = tmp_path / "home"
    (server,) = (line for line in lines if line.startswith("python -m mlflow server"))
    assert "--host 127.0.0.1 --port 5000" in server
    assert "postgresql" not in server
    assert lines[-1] == f"database postgresql://mlflow@/mlflow?host={home}/socket artifacts {home}/artifacts"
    (begin,) = (line for line in lines if line.startswith("pg_ctl start"))
    assert "listen_addresses=''" in begin
    assert (home / "socket").stat().st_mode & 0o077 == 0
    assert "warning" not in end(process)
    assert (tmp_path / "calls").read_text().splitlines()[-1].startswith("pg_ctl stop")
    assert not (tmp_path / "calls.up").exists()


def test_second_start_keeps_the_database_and_a_second_server_is_refused(start: Start, tmp_path: Path) -> None:
    (tmp_path / "home/database").mkdir(parents=True)
    (tmp_path / "home/database/PG_VERSION").touch()
    first = start()
    calls_until("database", first, tmp_path / "calls")
    second = start()
    output, _ = second.communicate()
    assert second.returncode == 1
    assert output.splitlines()[-1].startswith(f"error: the database in {tmp_path}/home is in use")
    assert (tmp_path / "calls.up").exists(), "the second one stopped the database of the first"
    end(first)
    assert "pg_ctl init" not in (tmp_path / "calls").read_text()


def test_own_database_is_passed_by_the_environment_alone(start: Start, tmp_path: Path) -> None:
    uri = "postgresql://user:secret@db/mlflow"
    process = start(MLFLOW_BACKEND_STORE_URI=uri, HOST="0.0.0.0", PORT="5005")
    lines = calls_until("database", process, tmp_path / "calls")
    assert [line for line in lines if "secret" in line] == [
        f"database {uri} artifacts {tmp_path}/home/artifacts"
    ]
    assert not [line for line in lines if line.startswith("pg_ctl")]
    output = end(process)
    assert "secret" not in output
    assert "warning: MLflow asks for no password" in output


def test_folder_too_deep_for_a_socket_is_one_line(start: Start, tmp_path: Path) -> None:
    process = start(GQBENCH_SERVER_HOME=str(tmp_path / ("long" * 25)))
    output, _ = process.communicate()
    assert process.returncode == 1
    assert output.startswith("error: the path ")
    assert len(output.splitlines()) == 1
    assert not (tmp_path / "calls").exists()


def test_missing_package_is_one_line(start: Start) -> None:
    process = start(NO_PSYCOPG="1")
    output, _ = process.communicate()
    assert process.returncode == 1
    assert output == "error: the packages of requirements-server.txt are missing; make server installs them\n"
