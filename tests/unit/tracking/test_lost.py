"""A store that is away, hangs, is locked or full: the work goes on, and later everything is there, once."""

import contextlib
import random
import resource
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.tracking import open_run, store
from pipelines.tracking.journal import pending
from pipelines.tracking.sending import send
from stages import track
from tests.imports import ROOT
from tests.soak import Tried, times
from tests.unit.tracking.logged import HISTORY, content, log_training
from tests.unit.tracking.server import MlflowServer, closed_port
from tests.unit.tracking.stores import config, mlflow, own_store, undisturbed_settings

pytestmark = pytest.mark.usefixtures("own_journals")

CALLS = 14
"""How often `log_training` calls `between`."""


@pytest.fixture(scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    yield server
    server.end()


@pytest.fixture
def served(_server: MlflowServer) -> Iterator[MlflowServer]:
    """A server that does not run before a test nor, however the test ends, after it."""
    yield _server
    _server.kill()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What a store holds whose server never failed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        undisturbed_settings(patch)  # this is made before any test's own settings
        patch.chdir(folder)
        patch.setenv("GQBENCH_PIPELINE_RUN", "lost")
        log_training(config("whole"), folder)
        return content(own_store(), "whole")


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """Whether two stores hold the same, but for the number of a model's version, which counts over experiments."""

    def stripped(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [run | {"versions": [name for name, _ in run["versions"]]} for run in runs]

    assert [(run["name"], run["status"]) for run in found] == [
        (run["name"], run["status"]) for run in expected
    ]
    for one, other in zip(stripped(found), stripped(expected), strict=True):
        assert one == other
    return True


def send_by_command(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(sys, "argv", ["track", "send"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    Path("params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    track.main()


def test_a_server_that_is_killed_and_comes_back_has_everything_once(
    served: MlflowServer,
    undisturbed: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    tried: Tried,
) -> None:
    deaths = random.Random(7).sample(range(CALLS), times(2, CALLS))
    tried("kills of an MLflow server", len(deaths))
    for death in deaths:

        def kill_at(call: int, death: int = death) -> None:
            if call == death:
                served.kill()

        served.start()
        name = f"killed at {death}"
        capsys.readouterr()
        log_training(config(name, served.uri), tmp_path, kill_at)
        warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
        assert all(f"the MLflow store {served.uri} no longer answers" in line for line in warnings)
        assert 1 <= len(warnings) <= 2  # one a stage
        assert pending()
        served.start()
        send_by_command(monkeypatch, served.uri)
        assert not pending()
        assert same(content(served.uri, name), undisturbed)
        send_by_command(monkeypatch, served.uri)  # nothing is left to send
        assert same(content(served.uri, name), undisturbed)
        served.kill()


def test_a_server_that_hangs_holds_nothing_up_and_doubles_nothing(
    served: MlflowServer, undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was told while it hung it does when it wakes up, long after its client has given up."""
    served.start()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(store, "_PROBE_SECONDS", 0.5)

    def stop(call: int) -> None:
        if call == 3:
            served.send_signal(signal.SIGSTOP)

    log_training(config("hangs", served.uri), tmp_path, stop)
    assert len(pending()) == 2
    served.send_signal(signal.SIGCONT)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "600")
    monkeypatch.setattr(store, "_PROBE_SECONDS", 600.0)
    assert send(config("hangs", served.uri)).runs == 2
    assert same(content(served.uri, "hangs"), undisturbed)


REQUESTS = (
    "create_run",
    "log_batch",
    "set_terminated",
    "update_run",
    "log_inputs",
    "log_artifact",
    "set_tag",
)


class Unreliable:
    """Lets the requests of MLflow's client fail, the one numbered `at` first: `before` it is made, or after."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, *, before: bool, healthy_after: bool) -> None:
        self.count = 0
        for name in REQUESTS:
            patch.setattr(mlflow.MlflowClient, name, self._wrap(getattr(mlflow.MlflowClient, name)))
        self.at, self.before, self.healthy_after = at, before, healthy_after

    def _wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def request(*arguments: Any, **keywords: Any) -> Any:
            self.count += 1
            fails = self.count == self.at or (self.count > self.at and not self.healthy_after)
            if fails and self.before:
                raise ConnectionError("away")
            answer = real(*arguments, **keywords)
            if fails:
                raise ConnectionError("the answer was lost")
            return answer

        return request


def test_whichever_request_fails_the_next_stage_and_a_second_try_lose_and_double_nothing(
    undisturbed: Any, base: Path, tmp_path: Path, tried: Tried
) -> None:
    """Before or after the store has done it; while the stages run, and again while the rest is sent."""
    store_uri = f"sqlite:///{base}/mlflow.db"
    generator = random.Random(11)
    tried("stores that fail at a request", 3 * times(4, 60))
    for trial in range(times(4, 60)):
        name, before = f"request {trial}", trial % 2 == 0
        with pytest.MonkeyPatch.context() as patch:
            Unreliable(patch, generator.randrange(1, 22), before=before, healthy_after=trial % 4 < 2)
            log_training(config(name, store_uri), tmp_path)
        for _ in range(2):
            with pytest.MonkeyPatch.context() as patch:
                Unreliable(patch, generator.randrange(1, 15), before=before, healthy_after=False)
                with contextlib.suppress(UserError):  # unless nothing is left for that many requests
                    send(config(name, store_uri))
        send(config(name, store_uri))
        assert not pending()
        assert same(content(store_uri, name), undisturbed), f"trial {trial}"


def test_a_store_that_another_process_locks_is_written_later(base: Path) -> None:
    store_uri = f"sqlite:///{base}/mlflow.db"
    with open_run(config("locked", store_uri), "train", "m", {"seed": 1}) as tracker:
        tracker.log_history(HISTORY[:1])
        with sqlite3.connect(base / "mlflow.db") as other:
            other.execute("BEGIN EXCLUSIVE")
            tracker.log_history(HISTORY[:2])
            (kept,) = pending()
        tracker.log_history(HISTORY)
    assert not kept.exists(), "at its end the stage finds the store free"
    (run,) = content(store_uri, "locked")[:1]
    assert [count for (key, *_), count in run["numbers"].items() if key == "loss"] == [1, 1, 1]


def test_a_store_that_is_locked_at_the_start_stops_nothing(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_PROBE_SECONDS", 0.1)
    store_uri = f"sqlite:///{base}/mlflow.db"
    with sqlite3.connect(base / "mlflow.db") as other:
        other.execute("BEGIN EXCLUSIVE")
        with open_run(config("locked first", store_uri), "train", "m", {"seed": 1}) as tracker:
            tracker.log_history(HISTORY)
    assert len(pending()) == 1
    # The next stage sends what is left before it opens its own run.
    with open_run(config("locked first", store_uri), "evaluate", None, {}):
        assert not pending()
    names = {run["name"]: run["status"] for run in content(store_uri, "locked first")}
    assert names == {"m": "FINISHED", "evaluate": "FINISHED", "pipeline lost": "FINISHED"}


@pytest.fixture
def file_limit() -> Iterator[Callable[[int], None]]:
    """Sets the size that no file of this process may pass: a disk that is full for those that are larger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_of_the_store_loses_nothing(tmp_path: Path, file_limit: Any, capfd: Any) -> None:
    uri = f"sqlite:///{tmp_path}/small.db"
    with open_run(config("full", uri), "train", "m", {"seed": 1}) as tracker:
        tracker.log_history(HISTORY[:1])
        file_limit((tmp_path / "small.db").stat().st_size)
        tracker.log_params({f"p{index}": "x" * 6000 for index in range(90)})
        tracker.log_history(HISTORY)
        assert "no longer answers" in capfd.readouterr().err
        file_limit(resource.RLIM_INFINITY)
    assert not pending()
    run = content(uri, "full")[0]
    assert len(run["params"]) == 90
    assert sorted(step for key, step, *_ in run["numbers"] if key == "loss") == [1, 2, 3]


def test_where_no_disk_has_room_the_work_goes_on_and_one_line_says_so(
    file_limit: Any, capfd: Any, base: Path
) -> None:
    away = config("nowhere", f"http://127.0.0.1:{closed_port()}")
    with open_run(away, "train", "m", {}) as tracker:
        tracker.log_history(HISTORY)
        file_limit(8192)
        for _ in range(2):
            tracker.log_params({f"p{index}": "x" * 100 for index in range(100)})
        file_limit(resource.RLIM_INFINITY)
        tracker.log_metrics({"a": 1.0})
    lines = capfd.readouterr().err.splitlines()
    assert ["no longer answers" in line for line in lines] == [True, False]
    assert "cannot be written" in lines[1]
    # What there was room for, before and after, is whole.
    assert send(config("nowhere", f"sqlite:///{base}/mlflow.db")).runs == 1
    run = content(f"sqlite:///{base}/mlflow.db", "nowhere")[0]
    assert ({key for key, *_ in run["numbers"]}, run["params"]) == ({"loss", "train_seconds", "a"}, {})
