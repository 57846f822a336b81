import importlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from pipelines.errors import UserError
from pipelines.provenance import commit
from pipelines.tracking import NullTracker, open_run
from pipelines.tracking.lineage import is_dvc, pipeline_run
from pipelines.tracking.store import prepare_environment, without_password
from pipelines.tracking.vocabulary import Role, Subject
from tests.unit.tracking.logged import Shift
from tests.unit.tracking.server import closed_port
from tests.unit.tracking.stores import config, own_store, runs

prepare_environment()
mlflow = importlib.import_module("mlflow")


def test_disabled_tracking_touches_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with open_run(config(enabled=False, store="http://192.0.2.1"), "train", None, {}) as tracker:
        assert isinstance(tracker, NullTracker)
    assert list(tmp_path.iterdir()) == []


def test_what_a_stage_logs_is_in_the_store(tmp_path: Path) -> None:
    figure = tmp_path / "curve.png"
    figure.write_bytes(b"picture")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/rows.csv").write_text("a,b\n")
    with open_run(config("contents"), "train", "densenet50", {"data_checksum": "abc", "seed": 3}) as tracker:
        tracker.log_params({"recipe": {"epochs": 2, "augment": {"flip": True}}, "none": None, "empty": {}})
        tracker.log_params({f"p{index}": index for index in range(150)})  # more than one request takes
        history = [{"epoch": epoch, "seconds": 2.0, "loss": 1 / epoch} for epoch in (1, 2, 3)]
        for epoch in (1, 2, 3):
            tracker.log_history(history[:epoch])
        tracker.log_dataset("digits", "0123456789" * 7, {"train": 7}, "training")
        tracker.log_metrics({"accuracy": 0.5, "not_finite": float("nan")})
        tracker.log_figure(figure)
        tracker.log_artifact(tmp_path / "folder")
        tracker.set_tags({"model": "densenet50"})
    (run,) = runs("contents")
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "densenet50"
    expected = {
        "recipe.epochs": "2",
        "recipe.augment.flip": "True",
        "none": "None",
        "empty": "{}",
        "p149": "149",
    }
    assert run.data.params.items() >= expected.items()
    assert run.data.metrics["accuracy"] == 0.5
    client = mlflow.MlflowClient(own_store())
    loss = client.get_metric_history(run.info.run_id, "loss")
    assert [(metric.step, metric.value) for metric in loss] == [(1, 1), (2, 0.5), (3, 1 / 3)]
    assert [metric.timestamp - run.info.start_time for metric in loss] == [2000, 4000, 6000]
    assert run.data.metrics["train_seconds"] == 6.0
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("digits", "012345678901")
    tags = {
        "stage": "train",
        "item": "densenet50",
        "data_checksum": "abc",
        "seed": "3",
        "model": "densenet50",
        "role": "stage",
        "mlflow.source.git.commit": commit().removesuffix("-dirty"),
    }
    assert run.data.tags.items() >= (tags | {"commit": commit()}).items()
    files = [
        item.path
        for folder in ("figures", "folder")
        for item in client.list_artifacts(run.info.run_id, folder)
    ]
    assert files == ["figures/curve.png", "folder/rows.csv"]
    assert Path("mlartifacts").is_dir()


def test_stages_of_one_pipeline_run_share_a_parent(monkeypatch: Any) -> None:
    monkeypatch.setenv("GQBENCH_PIPELINE_RUN", "it's one")
    for stage in ("prepare", "train"):
        with open_run(config("family"), stage, None, {}):
            pass
    monkeypatch.setenv("GQBENCH_PIPELINE_RUN", "another")
    with open_run(config("family"), "prepare", None, {}):
        pass
    monkeypatch.delenv("GQBENCH_PIPELINE_RUN")
    with open_run(config("family"), "alone", None, {}):
        pass
    found = {run.info.run_id: run for run in runs("family")}
    parents = [run for run in found.values() if run.info.run_name.startswith("pipeline")]
    assert [run.info.run_name for run in parents] == ["pipeline it_s one", "pipeline another"]
    children = {
        parent.info.run_name: [
            run.info.run_name
            for run in found.values()
            if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
        ]
        for parent in parents
    }
    assert children == {"pipeline it_s one": ["prepare", "train"], "pipeline another": ["prepare"]}
    assert all(run.info.status == "FINISHED" for run in found.values())
    alone = next(run for run in found.values() if run.info.run_name == "alone")
    assert "mlflow.parentRunId" not in alone.data.tags


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (UserError, "FAILED")]
)
def test_how_a_run_ended_is_recorded(error: type[BaseException], status: str, monkeypatch: Any) -> None:
    name = f"ends-{error.__name__}"
    monkeypatch.setenv("GQBENCH_PIPELINE_RUN", name)
    with pytest.raises(error), open_run(config(name), "train", None, {}):
        raise error
    assert [run.info.status for run in runs(name)] == [status, status]


def test_dvc_above_is_the_pipeline_run(monkeypatch: Any) -> None:
    class Process:
        def __init__(self, pid: int, command: list[str]) -> None:
            self.pid, self._command = pid, command

        def cmdline(self) -> list[str]:
            if not self._command:
                raise psutil.AccessDenied
            return self._command

        def create_time(self) -> float:
            return 12.5

    above = [Process(5, ["python", "-m", "x"]), Process(4, []), Process(3, ["python", "/v/bin/dvc", "repro"])]
    monkeypatch.setattr(psutil.Process, "parents", lambda self: above)
    assert pipeline_run() == f"{socket.gethostname()}-3-12.50"
    monkeypatch.setattr(psutil.Process, "parents", lambda self: above[:2])
    assert pipeline_run() is None
    monkeypatch.setenv("GQBENCH_PIPELINE_RUN", "named")
    assert pipeline_run() == "named"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["dvc", "repro"], True),
        (["/v/bin/python", "-m", "dvc", "exp", "run"], True),
        (["python3.11", "/v/bin/dvc", "repro"], True),
        (["bash", "-c", "cd x; dvc repro"], False),
        (["python", "-m", "pytest", "tests", "dvc"], False),
        ([], False),
    ],
)
def test_is_dvc(command: list[str], expected: bool) -> None:
    assert is_dvc(command) is expected


def test_environment_variable_goes_before_the_parameter(tmp_path: Path, monkeypatch: Any) -> None:
    missing = f"sqlite:///{tmp_path}/missing/x.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", missing)
    with pytest.raises(UserError, match=r"^MLFLOW_TRACKING_URI: the MLflow store sqlite.* does not exist"):
        open_run(config(), "train", None, {}).__enter__()


@pytest.mark.parametrize(
    "uri",
    [
        "http://u:secret@127.0.0.1:port",
        "sqlite:///no/db",
        "sqlite:///{text}",
        "odd://x",
    ],
)
def test_a_store_that_never_can_be_used_is_a_user_error(uri: str, tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("no database, but long enough to be read as the header of one: " + "x" * 100)
    with pytest.raises(
        UserError, match=r"^tracking.store: .* cannot be used .*tracking.enabled: false$"
    ) as caught:
        open_run(config(store=uri.format(text=text)), "train", None, {}).__enter__()
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:{port}", "postgresql://u:secret@127.0.0.1:{port}/x"])
def test_a_store_that_is_away_is_asked_once_and_keeps_nobody_waiting(
    uri: str, monkeypatch: Any, capsys: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "*")
    # MLflow's own client would try for minutes.
    monkeypatch.setattr(mlflow, "MlflowClient", lambda *_: pytest.fail("MLflow was asked"))
    store = uri.format(port=closed_port())
    with open_run(config(store=store), "train", None, {}) as tracker:
        tracker.log_metrics({"a": 1.0})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: the MLflow store ")
    assert "stages.track send" in line
    kept = b"".join(path.read_bytes() for path in Path("mlpending").rglob("*") if path.is_file())
    assert b"secret" not in line.encode() + kept


def test_passwords_are_hidden() -> None:
    assert (
        without_password("at postgresql://u:p@h/x and http://h:5000")
        == "at postgresql://u:***@h/x and http://h:5000"
    )


class Server(BaseHTTPRequestHandler):
    """As much of MLflow's REST interface as one run needs."""

    logged: list[str]

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        self.logged += [metric["key"] for metric in body.get("metrics", [])]
        run = {
            "info": {"run_id": "r", "experiment_id": "1", "artifact_uri": "mlflow-artifacts:/r"},
            "data": {},
        }
        experiment = {"experiment_id": "1", "name": "test", "lifecycle_stage": "active"}
        content = json.dumps({"run": run, "experiment": experiment}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_HEAD = answer


@pytest.fixture
def server(monkeypatch: Any) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setenv("no_proxy", "*")
    Server.logged = []
    # The sockets of a server that is gone must not linger as half-open keep-alive connections.
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_server_that_goes_away_costs_one_warning_and_is_asked_no_more(
    server: Any, capsys: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = f"http://127.0.0.1:{server.server_address[1]}"
    with open_run(config(store=uri), "train", None, {}) as tracker:
        tracker.log_metrics({"before": 1.0})
        server.shutdown()
        server.server_close()
        tracker.log_history([{"epoch": 1, "seconds": 1.0, "after": 1.0}])
        # An AssertionError is no failure of a store: it would end the stage.
        monkeypatch.setattr(mlflow.MlflowClient, "log_batch", lambda *_, **__: pytest.fail("asked again"))
        for epoch in range(3):
            tracker.log_history([{"epoch": epoch, "seconds": 1.0, "after": 1.0}])
        subject = Subject(
            Role.MODEL, "m", {"model": "m", "data_checksum": "0", "seed": 1, "commit": "c", "data": "d"}
        )
        tracker.run_of(subject).log_metrics({"after": 1.0})
        tracker.pipeline().set_note("after")
        tracker.log_params({"a": 1})
    assert Server.logged == ["before"]
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith(f"warning: the MLflow store {uri} no longer answers")


def test_a_server_that_is_no_mlflow_is_a_user_error(server: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(Server, "do_GET", lambda self: self.send_error(401))
    with pytest.raises(UserError, match="cannot be used"):
        open_run(config(store=f"http://127.0.0.1:{server.server_address[1]}"), "train", None, {}).__enter__()


def test_a_logged_model_predicts_the_same_through_pyfunc(capfd: Any) -> None:
    example = np.random.default_rng(0).random((2, 3, 4, 4), dtype=np.float32)
    with open_run(config("models"), "train", None, {}) as tracker:
        tracker.log_history([{"epoch": epoch, "seconds": 1.0, "loss": 0.5 / epoch} for epoch in (1, 2)])
        tracker.log_model("shift", Shift().eval(), example, 2)
        tracker.log_metrics({"accuracy": 0.75})
    (run,) = runs("models")
    mlflow.set_tracking_uri(own_store())
    (version,) = mlflow.MlflowClient(own_store()).search_model_versions(f"run_id = '{run.info.run_id}'")
    assert version.name == "gqbench-shift"
    stored = mlflow.MlflowClient(own_store()).get_logged_model(run.outputs.model_outputs[0].model_id)
    assert (stored.name, stored.experiment_id) == ("shift", run.info.experiment_id)
    assert {metric.key: metric.value for metric in stored.metrics} == {
        "loss": 0.25,
        "train_seconds": 2.0,
        "accuracy": 0.75,
    }
    assert run.data.metrics["accuracy"] == 0.75
    loaded = mlflow.pyfunc.load_model(f"models:/gqbench-shift/{version.version}")
    # A batch of another size than the example's: the batch axis must be free.
    images = np.random.default_rng(1).random((5, 3, 4, 4), dtype=np.float32)
    assert np.array_equal(loaded.predict(images), Shift()(torch.from_numpy(images)).detach().numpy())
    assert loaded.metadata.run_id == run.info.run_id
    signature = loaded.metadata.signature
    assert [tuple(spec.shape) for spec in signature.inputs.inputs] == [(-1, 3, 4, 4)]
    assert [tuple(spec.shape) for spec in signature.outputs.inputs] == [(-1, 3)]
    assert loaded.metadata.saved_input_example_info is not None
    assert "WARNING" not in capfd.readouterr().err


def test_models_are_left_out_on_request() -> None:
    with open_run(config("no-models", log_models=False), "train", None, {}) as tracker:
        tracker.log_model("shift", Shift(), np.zeros((1, 3, 4, 4), np.float32), 1)
    (run,) = runs("no-models")
    assert not run.outputs or not run.outputs.model_outputs


def test_mlflow_sends_no_usage_data() -> None:
    prepare_environment()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["DO_NOT_TRACK"] == "true"
