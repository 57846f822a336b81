"""No pickle is executed, no name leaves its folder, no shell reads a parameter, no secret is shown."""

import ast
import importlib
import pickle
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from pipelines.config import load_section
from pipelines.data import PrepareConfig, load_prepared
from pipelines.data.archives import read_npz
from pipelines.data.preparation import prepare
from pipelines.entry import run_stage
from pipelines.errors import UserError
from pipelines.experiments.study.answers.collect import read_scores
from pipelines.tracking.store import without_password
from tests.damage import Executes
from tests.imports import ROOT

SOURCES = [
    file
    for folder in ("horovod_gq", "pipelines", "stages", "benchmarks", "examples")
    for file in sorted((ROOT / folder).rglob("*.py"))
]
# A call of one of these must carry the keyword with this value.
MUST = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
NEVER = {
    "os.system",
    "os.popen",
    "pickle.load",
    "pickle.loads",
    "eval",
    "exec",
    "joblib.load",
    "subprocess.getoutput",
}


def calls(file: Path) -> Iterator[tuple[str, dict[str | None, ast.expr]]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {keyword.arg: keyword.value for keyword in node.keywords}


def test_no_call_executes_pickles_or_a_shell() -> None:
    seen = set()
    for file in SOURCES:
        for name, keywords in calls(file):
            assert name not in NEVER, file
            assert "shell" not in keywords, file
            if name in MUST:
                key, value = MUST[name]
                assert ast.literal_eval(keywords[key]) is value, file
                seen.add(name)
    assert seen == set(MUST)


@pytest.mark.parametrize("reader", ["user", "prepared", "probabilities"])
def test_a_pickle_among_arrays_is_refused_and_not_executed(tmp_path: Path, reader: str) -> None:
    marker = tmp_path / "executed"
    evil = np.array([Executes(marker)], dtype=object)
    names = {
        "user": ("x_train", "y_train"),
        "prepared": ("images", "labels"),
        "probabilities": ("labels", "seeds", "probabilities"),
    }[reader]
    path = tmp_path / ("train.npz" if reader == "prepared" else "own.npz")
    if reader == "prepared":
        config = load_section(PrepareConfig, "prepare", ROOT / "params.yaml")
        prepare(config, tmp_path, tmp_path / "samples.png")
    np.savez(path, **dict.fromkeys(names, evil))
    readers = {
        "user": lambda: read_npz(path, names),
        "prepared": lambda: load_prepared(tmp_path),
        "probabilities": lambda: read_scores(path),
    }
    with pytest.raises(UserError, match="something that only Python's pickle could read"):
        readers[reader]()
    assert not marker.exists()
    with np.load(path, allow_pickle=True) as archive:
        assert len(archive[names[0]]) == 1
    assert marker.exists(), "the test's pickle is harmless"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with parameters and prepared digits, as a stage finds it; names may try to leave it."""
    folder = tmp_path_factory.mktemp("outside") / "checkout"
    folder.mkdir()
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["tracking"]["enabled"] = False
    with (folder / "params.yaml").open("w") as file:
        yaml.dump(params, file)
    prepare(
        load_section(PrepareConfig, "prepare", folder / "params.yaml"),
        folder / "data/prepared",
        folder / "s.png",
    )
    shutil.copytree(folder / "data/prepared", folder.parent / "evil")
    (folder / "checkpoints/recognition/densenet50").mkdir(parents=True)
    (folder / "checkpoints/recognition/densenet50/best.pt").write_bytes(b"x")
    (folder.parent / "best.pt").write_bytes(pickle.dumps(Executes(folder.parent / "executed")))
    return folder


def tree(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


HOSTILE = [
    "../../evil",
    "/etc",
    "..",
    "a/../../b",
    "$(touch x)",
    "x; touch y",
    "-h\n",
    "densenet50/../../..",
    "\udcff",
]
COMMANDS = [
    ["baseline", "--model"],
    ["convergence.curve", "--method"],
    ["convergence.curve", "--model"],
    ["convergence.parity", "--data"],
    ["convergence.prepare", "--data"],
    ["distributed", "--model"],
    ["distributed", "--method"],
    ["export", "--model"],
    ["convergence.summarise_parity", "--data"],
    ["predict", "s.png", "--model"],
    ["study.prepare", "--data"],
    ["study.compare", "--data", "digits", "--model"],
    ["sweep.measure", "--link"],
    ["sweep.measure", "--model"],
    ["time_to_accuracy.train", "--method", "sdp", "--model"],
    ["time_to_accuracy.train", "--model", "densenet100", "--method"],
]
NUMBERS = [
    ["train", "--depth"],
    ["convergence.curve", "--workers"],
    ["predict", "s.png", "--top"],
    ["time_to_accuracy.train", "--model", "densenet100", "--seed"],
]


@pytest.mark.parametrize(
    "given",
    [
        [*command, name]
        for command in COMMANDS
        for name in HOSTILE[: 1 if command[0].startswith("study.") else None]
    ]
    + [[*command, number] for command in NUMBERS for number in ("-1", "0", str(10**30))],
    ids=lambda given: " ".join(given).encode("unicode_escape").decode(),
)
def test_no_name_or_number_on_a_command_line_leaves_the_checkout(
    given: list[str], checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(checkout.parent)
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(sys, "argv", given)
    main = importlib.import_module(f"stages.{given[0]}").main
    with pytest.raises((UserError, SystemExit)) as caught:
        main()
    if isinstance(caught.value, SystemExit):
        assert caught.value.code == 2
    else:
        assert str(caught.value).isprintable()
    assert tree(checkout.parent) == before


URIS = [
    "http://user:{secret}@127.0.0.1:{port}",
    "http://{secret}@127.0.0.1:{port}",
    "http://user:a/{secret}@127.0.0.1:{port}",
    "http://127.0.0.1:{port}/?access_token={secret}",
    "postgresql://user:{secret}@127.0.0.1:{port}/runs",
    "mysql+pymysql://user:x@{secret}@127.0.0.1:{port}/runs?ssl_key={secret}",
]


@pytest.mark.parametrize("uri", URIS)
def test_a_secret_in_the_address_of_the_store_is_never_shown(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = uri.format(secret="s3cr3t", port=closed.getsockname()[1])
    assert "s3cr3t" not in without_password(f"at {address} failed: {address}")
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(sys, "argv", ["prepare"])
    main = importlib.import_module("stages.prepare").main
    try:
        run_stage(main)
        status = 0
    except SystemExit as end:
        status = end.code
    output, errors = capfd.readouterr()
    assert errors.count("\n") == 1
    if status == 1:  # that is no address at all
        assert errors.startswith("error: MLFLOW_TRACKING_URI: the MLflow store ")
    else:  # the store is away, so what it was to be told is kept in files here
        assert status == 0, errors
        assert errors.startswith("warning: the MLflow store ")
        assert list((tmp_path / "mlpending").iterdir())
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert "s3cr3t" not in output + errors + written.decode(errors="replace")
