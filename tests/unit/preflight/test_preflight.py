"""Before any work every problem of parameters, references and machine is printed, a line each."""

import hashlib
import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipelines.cluster import requirements
from pipelines.errors import UserError
from pipelines.models import build_model, spec_of
from pipelines.preflight import machine, memory
from pipelines.preflight.memory import footprint
from pipelines.preflight.run import preflight
from pipelines.training import Checkpoint
from pipelines.training.checkpoint import save_checkpoint
from tests.configs import make_densenet, make_recipe
from tests.imports import ROOT

PARAMS = (ROOT / "params.yaml").read_text(encoding="utf-8")
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write params.yaml with texts replaced, into a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("GQBENCH_DATA_ROOT", raising=False)

    def write_file(*changes: tuple[str, str]) -> Path:
        text = PARAMS
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / "params.yaml").write_text(text)
        return Path("params.yaml")

    return write_file


def problems_of(params: Path, pipeline: str = "main") -> list[str]:
    problems, _ = preflight(pipeline, params)
    assert all(problem.isprintable() for problem in problems)
    return problems


def only(problems: list[str]) -> str:
    assert len(problems) == 1, problems
    return problems[0]


def test_the_committed_parameters_have_no_problem_here(write: Write) -> None:
    assert problems_of(write()) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("depths: [50,", "depths: [51,", "train.depths: densenet51: train.depths: 51 fits no block rule"),
        ("models: [vgg16_bn,", "models: [vgg15,", "baseline.models: vgg15: .*'vgg15' is no known model; known: "),
        ("models: [densenet50,", "models: [resnet19,", "distributed.models: resnet19: .*is no known model"),
        ("gq8, gq4, gq4_bucketed]", "gq8, gq5]", "distributed.methods: 'gq5' is no valid key of .*; keys: sdp"),
        ("reference: sdp", "reference: ssp", "speedup.reference: 'ssp' is not allowed; allowed: one of distributed"),
        ("workers: 2\n", "workers: 9\n", "distributed.methods: gq4: wire_bits=4 cannot carry the sum of 9 workers"),
        ("sdp_fp16, gq16_bucketed,", "sdp_fp16, gqq,", "sweep.methods: 'gqq' is no valid key of the section methods"),
        ("[sdp, sdp_fp16, gq8_bucketed, gq4_scatter,", "[sdp, gq4_bucketed,", "convergence.methods: gq4_bucketed"),
        ("model: densenet22\n", "model: densenet23\n", "convergence.model: densenet23: .*fits no block rule"),
        ("{ model: densenet22, seeds", "{ model: nothing, seeds", "convergence.parity.sets.digits.model: nothing: "),
        ("sdp\n  margin_points: 1.0", "ssp\n  margin_points: 1.0", "time_to_accuracy.reference: 'ssp' is not allowed"),
        (
            "methods: [sdp, gq4_bucketed, gq_lowrank4]",
            "methods: [sdp, gq5]",
            "time_to_accuracy.methods: 'gq5' is no va",
        ),
        ("source: cifar10", "source: nowhere", "study.cifar10_whole.source: 'nowhere' is no known data set; known"),
        ("name: digits ", "name: digit ", "prepare.name: 'digit' is no known data set; known: cifar10"),
        ("initial_width: null", "initial_width: 0", "densenet.initial_width: 0 is not allowed; allowed: null or"),
        ("device: auto\n  precision", "device: cuda\n  precision", "recipe.device: 'cuda' is not allowed here"),
        ("sqlite:///mlflow.db #", "sqlite:///no/such.db #", "tracking.store: the MLflow store .* cannot be used"),
        ("network_interface: null", "network_interface: eth99", "distributed.network_interface: 'eth99' does not"),
        ("name: digits ", "name: svhn ", "prepare.name: svhn: no data root is set, and "),
        ("batch_size: 64 # per", "batch_size: 1000000 # per", "distributed.batch_size: 1000000 is not allowed: a"),
        ("batch_size: 64\n", "batch_size: 1000000\n", "recipe.batch_size: 1000000 is not allowed: a step of "),
        ("frozen: {}", "frozen: { all: null }", r"recipe.frozen: \['all'\] is not allowed without recipe.start_from"),
        ("frozen: {}", "frozen: { stem: 2 }", "recipe.frozen.stem: 2.0 is not allowed; allowed: null"),
        ("from: null", "from: { path: no.pt, sha256: null }", "recipe.start_from.path: no.pt: cannot be read"),
    ],
)  # fmt: skip
def test_a_problem_is_found_before_any_work(
    write: Write, old: str, new: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("pipelines.data.roots.unreachable", lambda *_: "no network")
    problems = problems_of(write((old, new)))
    assert problems
    for problem in problems[:1]:
        assert re.search(expected, problem), problem
    key = expected.split(":")[0].split("\\")[0]
    assert all(key in problem for problem in problems), problems


def test_a_network_to_start_from_is_tried_on_every_model(write: Write, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints/recognition/densenet50"
    path = folder / "best.pt"
    model = build_model(
        "densenet50", num_channels=1, num_classes=4, image_size=8, densenet=make_densenet(), seed=1
    )
    save_checkpoint(
        Checkpoint(
            spec=spec_of(model),
            recipe=make_recipe().identity(),
            data_name="another",
            class_names=("a", "b", "c", "d"),
            mean=(0.5,),
            std=(0.5,),
            data_checksum="",
            transform=None,
            epoch=1,
            best_epoch=1,
            finished=True,
            history=[],
            model_state=model.state_dict(),
            optimizer_state=None,
            generator_states={},
        ),
        path,
    )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    def start(place: Path, sha256: str) -> tuple[str, str]:
        return ("from: null", f"from: {{ path: {place}, sha256: {sha256} }}")

    fewer = ("depths: [50, 100, 200]", "depths: [50]"), ("models: [vgg16_bn, efficientnet_b0]", "models: []")
    unnamed = only(problems_of(write(start(path, "null"))))
    assert re.search(rf"start_from\.sha256: None is not that of .*, which is {digest}", unnamed)
    own, *others = problems_of(write(start(path, digest)))
    assert "best.pt is what the training of densenet50 itself writes; copy it" in own
    assert [line for line in others if "a densenet50 has no weights that fit" in line] == others
    assert len(others) == 2  # VGG and EfficientNet; deeper DenseNets share layers with it
    copy = Path(shutil.copy(path, tmp_path / "start.pt"))
    assert problems_of(write(start(copy, digest), *fewer)) == []
    assert "for images of 1 channels does not fit these, which have 3" in only(
        problems_of(write(start(copy, digest), ("name: digits ", "name: cifar10 "), *fewer))[-1:]
    )
    assert only(
        problems_of(write(start(copy, digest), ("frozen: {}", "frozen: { blocks.3: 0.5 }"), *fewer))[:1]
    ).startswith(
        "params.yaml: recipe.frozen: 'blocks.3' is no layer of this model; its layers: stem, blocks.0"
    )


def test_all_problems_are_printed_at_once_a_line_each(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The issue's case: a bad value in a late section was found only when its stage started, after the trainings."""
    write(
        ("epochs: 10\n", "epochs: -1\n"),
        ("bootstrap_samples: 1000", "bootstrap_samples: 1"),
        ("log_models: true", "log_models: perhaps"),
        ("sqlite:///mlflow.db #", "sqlite:///no/such.db #"),
        ("powersgd, rank: 2", "powersgd, rank: 0"),
        ("speedup:", "unheard_of: 1\nspeedup:"),
    )
    monkeypatch.setattr(sys, "argv", ["preflight"])
    with pytest.raises(SystemExit) as caught:
        importlib.import_module("stages.preflight").main()
    assert caught.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    keys = [
        "recipe.epochs",
        "evaluate.bootstrap_samples",
        "tracking.log_models",
        "methods.powersgd.rank",
        "unheard_of",
    ]
    assert all(
        line.startswith(f"error: params.yaml: {key}: ") for line, key in zip(lines, keys, strict=True)
    ), lines


def test_a_horovod_of_another_torch_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    original = importlib.import_module

    def broken(name: str, *arguments: Any) -> Any:
        if name == "horovod.torch":
            raise ImportError("mpi_lib_v2.so: undefined symbol: _ZN3c10\nmore")
        return original(name, *arguments)

    monkeypatch.setattr(machine.importlib, "import_module", broken)
    problem = only(problems_of(write()))
    assert problem.startswith(
        f"Horovod cannot be used with the installed torch {torch.__version__} (mpi_lib_v2.so: "
    )
    assert "make setup" in problem


def test_a_host_that_ssh_does_not_reach_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        good = command[-2] == "good"
        return subprocess.CompletedProcess(
            command, 0 if good else 255, "", "" if good else "x\nno route to host\n"
        )

    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(machine.subprocess, "run", run)
    monkeypatch.setattr("pipelines.provenance.commit", lambda: "x")
    params = write(("hosts: null", "hosts: good:1,bad:1,localhost:1"))
    assert only(problems_of(params)) == (
        "distributed.hosts: 'bad' is not reached by ssh without a password (no route to host)"
    )
    assert sorted(command[-2] for command in asked) == ["bad", "good"]


def test_a_full_disk_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(".")._replace(free=2**29)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage)
    problem = only(problems_of(write()))
    assert ": 0.5 GiB are free on the disk, about " in problem
    needed = float(problem.split("about ")[1].split()[0])
    # VGG-16 alone has 14.7 million parameters: weights twice, weights and momentum twice.
    assert needed > 1 + 6 * 4 * 14.7e6 / 2**30


def test_the_sweep_needs_an_emulated_cluster(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise UserError("program 'tc' is missing")

    monkeypatch.setattr(requirements, "check", missing)
    params = write()
    assert only(problems_of(params, "sweep")) == "program 'tc' is missing"
    assert problems_of(params, "main") == []


@pytest.mark.parametrize(
    ("pipeline", "missing"),
    [
        ("convergence", ["cifar10"]),
        ("study", ["fashion_mnist", "cifar10"]),
        ("related", ["fashion_mnist", "cifar10"]),
    ],
)
def test_data_that_a_pipeline_goes_on_without_are_a_note(
    write: Write, pipeline: str, missing: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.data.roots.unreachable", lambda *_: "no network")
    problems, notes = preflight(pipeline, write())
    assert problems == []
    starts = [f"prepare.name: {name}: no data root is set" for name in missing]
    assert [note[: len(start)] for note, start in zip(notes, starts, strict=True)] == starts


def test_the_memory_of_a_step_is_that_of_its_saved_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a chain whose saved tensors can be counted by hand: input of each layer, weights not counted twice."""

    def build(*_: Any, **__: Any) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.Tanh(), nn.Flatten(), nn.Linear(256, 10)
        )

    monkeypatch.setattr(memory, "build_model", build)
    size = footprint("any", "digits", None, make_densenet())
    assert size is not None
    assert size.parameter_bytes == 4 * (4 * 9 + 256 * 10 + 10)
    # The images (64 values), and what tanh gave (256), which it keeps itself and the linear layer reads.
    assert size.bytes_per_image == 4 * (64 + 256)
    assert size.step_bytes(10) == 3 * size.parameter_bytes + 10 * size.bytes_per_image


def test_the_memory_of_images_of_unknown_shape_is_unknown() -> None:
    assert footprint("densenet10", "folder", None, make_densenet()) is None
