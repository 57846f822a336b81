"""A tiny but real sweep (`dvc repro`): two emulated nodes, real horovodrun, the kernel's counters."""

import re

import pytest

from tests.configs import SHORT_TRIALS
from tests.pipeline.workspace import Workspace, stages_run

MODEL = "densenet22"
METHODS = ["sdp", "gq8_bucketed", "auto"]
AUTO = {
    "strategy": "auto",
    "wire_bits": [8],
    "factor_ranks": [1],
    "small_bits": 8,
    "max_error": 0.5,
    **SHORT_TRIALS,
}


@pytest.fixture(scope="module")
def workspace(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("checkout"))
    workspace.set_params(
        prepare__train_limit=200,
        prepare__test_limit=50,
        # Wide, so that a step moves a megabyte and framing is a small part of it.
        densenet__growth_rate=48,
        sweep__models=[MODEL],
        sweep__links=["100mbit"],
        sweep__methods=METHODS,
        sweep__workers=[2],
        sweep__oversubscribed_methods=[],
        sweep__batch_size=4,
        sweep__warmup_steps=2,
        sweep__rounds=2,
        sweep__min_seconds=0,
        sweep__policy_seconds=5,
        methods__auto=AUTO,
        sweep__steps_per_round=2,
    )
    workspace.commit("tiny sweep")
    output = workspace.run("dvc", "repro", "experiments/sweep/dvc.yaml")
    stages = [stage.removeprefix("experiments/sweep/dvc.yaml:") for stage in stages_run(output)]
    assert stages == ["prepare", f"measure@{MODEL}-100mbit", "summarise"]
    return workspace


def test_every_method_has_a_row(workspace: Workspace) -> None:
    rows = workspace.json("results/sweep/sweep.json")
    assert [(row["method"], row["workers"]) for row in rows] == [("alone", 1), *((m, 2) for m in METHODS)]
    assert all(row["step_seconds_median"] > 0 for row in rows)
    for row in rows:
        assert row["timed_steps"] == 2 * row["num_rounds"] == 2 * len(row["step_seconds_by_round"])
    rounds = {row["method"]: row["num_rounds"] for row in rows}
    assert rounds["alone"] == 2
    assert len({row["efficiency_limit"] for row in rows}) == 1
    assert 0 < rows[0]["efficiency_limit"] < 2  # two blocks of two steps, on a busy machine
    # `auto` and at least one that it may choose have had further ones, in turn.
    more = {method for method, number in rounds.items() if number > rounds["alone"]}
    assert {"auto"} < more <= {"auto", "sdp", "gq8_bucketed"}
    assert len({rounds[method] for method in more}) == 1
    (one_worker,) = {row["one_worker_step_seconds_median"] for row in rows}
    assert one_worker == rows[0]["step_seconds_median"]
    assert [row["wire_bits"] for row in rows] == [None, None, 8, [8]]


def test_the_policy_stands_beside_its_fastest_rival(workspace: Workspace) -> None:
    auto = workspace.json("results/sweep/sweep.json")[-1]
    assert set(auto["choices"]) <= {"none", "fp16", "gq8"}
    table = (
        (workspace.folder / "results/sweep/sweep.md")
        .read_text(encoding="utf-8")
        .split("fastest that `auto`")[1]
    )
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {MODEL}")]
    assert f"| {auto['num_rounds']} |" in line


def test_counted_and_expected_bytes_agree(workspace: Workspace) -> None:
    for row in workspace.json("results/sweep/sweep.json")[1:]:
        expected = row["wire_bytes_expected_per_step"]
        assert expected > 100_000
        assert row["wire_bytes_counted_per_step"] == pytest.approx(expected, rel=0.05)


def test_no_exchange_is_faster_than_its_link(workspace: Workspace) -> None:
    """A step lasts at least as long as its bytes at 100 Mbit/s, but for the bucket that passes at once."""
    for row in workspace.json("results/sweep/sweep.json")[1:]:
        wire_seconds = 8 * row["wire_bytes_expected_per_step"] / 100e6
        assert row["step_seconds_median"] >= 0.95 * wire_seconds


def test_the_table_has_a_line_for_every_row(workspace: Workspace) -> None:
    table = (workspace.folder / "results/sweep/sweep.md").read_text(encoding="utf-8")
    assert len(re.findall(rf"^\| {MODEL} \|", table, re.MULTILINE)) == 2 + len(METHODS)
