"""A tiny but real `dvc repro`: every stage, real horovodrun, real MLflow store."""

import json
import shutil

import pytest

from pipelines.config import load_yaml
from pipelines.preflight.machine import cluster_problem
from tests.pipeline.workspace import Workspace, stages_run

DEPTH = 10  # BC form: 2 * 3 layers + 4, one layer a block
METHODS = ["sdp", "gq4"]
STAGES = [
    "prepare",
    f"train@{DEPTH}",
    "baseline@resnet18",
    *(f"distributed@densenet{DEPTH}-{method}" for method in METHODS),
    "slow_link",
    "evaluate",
    "speedup",
    "report",
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("checkout"), compiles=True)
    workspace.set_params(
        prepare__train_limit=300,
        prepare__test_limit=100,
        train__depths=[DEPTH],
        baseline__models=["resnet18"],
        recipe__epochs=2,
        recipe__batch_size=32,
        distributed__models=[f"densenet{DEPTH}"],
        distributed__methods=METHODS,
        distributed__batch_size=16,
        distributed__epochs=2,
        distributed__warmup_steps=2,
        distributed__local_steps=2,
        slow_link__models=[f"densenet{DEPTH}"],
        slow_link__methods=METHODS,
        slow_link__warmup_steps=1,
        slow_link__rounds=1,
        slow_link__steps_per_round=1,
        evaluate__latency_repeats=5,
        evaluate__bootstrap_samples=50,
    )
    workspace.commit("tiny parameters")
    output = workspace.run("dvc", "repro")
    assert sorted(stages_run(output)) == sorted(STAGES)
    workspace.commit("results")
    return workspace


def test_all_rows_are_there(workspace: Workspace) -> None:
    recognition = workspace.json("results/recognition.json")
    assert [row["model"] for row in recognition] == [f"densenet{DEPTH}", "resnet18"]
    distributed = workspace.json("results/distributed.json")
    assert [row["method"] for row in distributed] == METHODS
    assert all(row["replicas_identical"] and row["workers"] == 2 for row in distributed)
    plain, quantized = distributed
    # 8 is the bare ratio of 4 bits; vectors, small tensors and header lanes take their part in a model this small.
    assert plain["compression_ratio"] == 1.0
    assert 2.0 < quantized["compression_ratio"] < 8.0
    assert quantized["encode_seconds_median"] > 0
    speedup = workspace.json("results/speedup.json")
    assert {row["source"] for row in speedup} == {"measured", "predicted"}


def test_the_slow_link_is_measured_where_this_machine_can_emulate_one(workspace: Workspace) -> None:
    on_link = [row for row in workspace.json("results/speedup.json") if row["link"] == "100mbit"]
    found = workspace.json("results/slow_link.json")
    possible = cluster_problem() is None
    assert found["measured"] == possible
    assert {row["source"] for row in on_link} == {"measured" if possible else "predicted"}
    assert [row["method"] for row in on_link] == METHODS
    if possible:
        plain, quantized = on_link
        # Their wire's time alone: 8 bits a byte at 100 Mbit/s, but for the bucket that passes at once.
        assert plain["step_seconds"] > 0.9 * 8 * plain["sent_bytes_per_step"] / 100e6
        assert plain["predicted_step_seconds"] > 0
        assert quantized["acceleration_over_reference"] == plain["step_seconds"] / quantized["step_seconds"]
    else:
        page = (workspace.folder / "results/report.html").read_text(encoding="utf-8")
        assert "No slow link was measured here" in page


def test_a_second_repro_does_nothing(workspace: Workspace) -> None:
    assert stages_run(workspace.run("dvc", "repro")) == []
    assert workspace.run("git", "status", "--short") == ""


def test_metrics_and_plots_are_shown(workspace: Workspace) -> None:
    shown = workspace.run("dvc", "metrics", "show")
    lines = {line.split()[0]: line for line in shown.splitlines()}
    assert f"results/metrics/recognition/densenet{DEPTH}.json" in lines
    assert f"results/metrics/distributed/densenet{DEPTH}-gq4.json" in lines
    assert len(lines["Path"]) < 250  # a line a run, and few columns
    workspace.run("dvc", "plots", "show", "-o", "plots")
    page = (workspace.folder / "plots/index.html").read_text(encoding="utf-8")
    shutil.rmtree(workspace.folder / "plots")
    assert "No plots" not in page
    assert "validation_loss" in page


def test_a_change_reruns_just_what_depends_on_it(workspace: Workspace) -> None:
    """Parameter, source file and presets, one after the other; then all is as before, as tests come in any order."""
    check_a_parameter(workspace)
    check_a_source_file(workspace)
    check_presets(workspace)
    workspace.run("git", "checkout", "--quiet", ".")
    workspace.run("dvc", "checkout", "--quiet", "--force", "dvc.yaml")


def check_a_parameter(workspace: Workspace) -> None:
    workspace.set_params(speedup__links_mbit_per_second=[50])
    assert stages_run(workspace.run("dvc", "repro")) == ["speedup", "report"]
    links = {row["link"] for row in workspace.json("results/speedup.json")}
    assert links == {"measured", "50mbit"} | ({"100mbit"} if cluster_problem() is None else set())
    # The metrics of the last commit come from DVC's cache: git holds dvc.lock, and no result.
    assert workspace.run("git", "ls-files", "results") == ""
    compared = json.loads(workspace.run("dvc", "metrics", "diff", "--all", "--json"))
    ratio = compared[f"results/metrics/distributed/densenet{DEPTH}-gq4.json"]["acceleration_ratio"]
    assert ratio["old"] == ratio["new"] > 0  # the link changes predictions, not what was measured


def check_a_source_file(workspace: Workspace) -> None:
    source = workspace.folder / "pipelines/report/tables.py"
    source.write_text(source.read_text(encoding="utf-8") + "\n# touched\n", encoding="utf-8")
    assert stages_run(workspace.run("dvc", "repro")) == ["report"]


def check_presets(workspace: Workspace) -> None:
    """`dvc exp run -S` composes conf/ into params.yaml and runs with it; a single key can be set beside presets."""
    choices = ("-S", "scale=cpu", "-S", "data=digits", "-S", "prepare.train_limit=200")
    assert stages_run(workspace.run("dvc", "exp", "run", *choices, "prepare")) == ["prepare"]
    composed = load_yaml(workspace.folder / "params.yaml")
    assert composed["prepare"]["name"] == "digits"
    assert composed["prepare"]["train_limit"] == 200
    assert composed["distributed"]["models"] == ["densenet50", "densenet100"]
    summary = workspace.json("results/prepare.json")
    assert summary["num_train"] + summary["num_validation"] == 200
