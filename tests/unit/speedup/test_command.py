"""`python -m stages.speedup predict`: the table, its JSON, and one clear line for every mistake."""

import json
import subprocess
import sys
from collections.abc import Sequence

import pytest

from pipelines.errors import UserError
from pipelines.speedup.command import answer, parse, parse_bandwidth, parse_duration
from tests.imports import ROOT

QUESTION = (
    "predict",
    "--model",
    "densenet50",
    "--workers",
    "2",
    "--bandwidth",
    "100mbit",
    "--latency",
    "50us",
)


def ask(*more: str) -> str:
    return answer(parse([*QUESTION, *more]))


def test_the_answer_for_machines() -> None:
    found = json.loads(ask("--json"))
    methods = {row["method"]: row for row in found["methods"]}
    steps = [row["step_seconds"] for row in found["methods"]]
    assert steps == sorted(steps)
    one = found["one_worker_seconds"]
    for row in methods.values():
        assert row["speedup"] == pytest.approx(2 * one / row["step_seconds"])
        assert row["over_reference"] == pytest.approx(methods["sdp"]["step_seconds"] / row["step_seconds"])
        assert 0 < row["uncertainty"] < 1
    # 247,516 parameters: 80 ms of fp32 on 100 Mbit/s, which the sweep measured to hide little.
    assert methods["sdp"]["sent_bytes"] == 4 * 247_516
    assert methods["sdp"]["step_seconds"] > one + 0.03
    assert found["recommended"] in methods
    assert methods[found["recommended"]]["same_updates"]
    assert not methods["ssp"]["same_updates"]


def test_the_answer_for_people() -> None:
    lines = ask().splitlines()
    assert "Predicted, not measured" in lines[0]
    assert any(line.startswith("sdp ") and "1.00×" in line for line in lines)
    assert lines[-1].startswith("Recommended by time: ")


def test_your_own_step_scales_the_trace() -> None:
    assert json.loads(ask("--json", "--step-ms", "85"))["one_worker_seconds"] == pytest.approx(0.085)


def test_methods_that_cannot_carry_the_workers_say_so() -> None:
    found = json.loads(ask("--json", "--workers", "64", "--gpus-per-host", "8", "--intra", "200gbit"))
    assert "cannot carry the sum of 64 workers" in found["impossible"]["gq4_bucketed"]
    assert "gq4_scatter" in {row["method"] for row in found["methods"]}


def test_a_fast_network_leaves_nothing_to_win() -> None:
    found = json.loads(
        ask("--json", "--bandwidth", "1tbit", "--latency", "1us", "--library", "nccl", "--step-ms", "500")
    )
    assert found["recommended"] == "sdp"
    assert found["not_told_apart"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "resnet7"], "model 'resnet7' has no trace; allowed: .*densenet100"),
        (["--workers", "1"], "--workers: 1 is not allowed; allowed: a whole number from 2"),
        (["--workers", "many"], "argument --workers: invalid int value: 'many'"),
        (["--workers", "1000000"], "--workers: 1000000 is not allowed; allowed: at most 65536"),
        (["--bandwidth", "fast"], "--bandwidth: fast is not allowed; allowed: .*10gbit"),
        (["--bandwidth", "0gbit"], "--bandwidth: 0gbit is not allowed"),
        (["--intra", "10"], "--intra: 10 is not allowed"),
        (["--latency", "50"], "--latency: 50 is not allowed; allowed: a number with us, ms or s"),
        (["--gpus-per-host", "0"], "--gpus-per-host: 0 is not allowed"),
        (
            ["--workers", "6", "--gpus-per-host", "4"],
            "--gpus-per-host: 4 is not allowed; allowed: a divisor of",
        ),
        (["--step-ms", "-3"], "--step-ms: -3.0 is not allowed"),
        (["--step-ms", "nan"], "--step-ms: nan is not allowed"),
        (["--stragglers", "101"], "--stragglers: 101.0 is not allowed; allowed: a number from 0 to 100"),
        (["--cycle-ms", "-1"], "--cycle-ms: -1.0 is not allowed"),
        (["--library", "mpi"], "--library: 'mpi' is not allowed; allowed: gloo, nccl"),
        (["--algorithm", "tree"], "--algorithm: tree is not allowed; allowed: ring"),
        (["--speed", "9"], "unrecognized arguments: --speed 9"),
    ],
)
def test_a_mistake_is_one_line(arguments: Sequence[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        ask(*arguments)
    assert "\n" not in str(caught.value)


def test_rates_and_durations() -> None:
    assert parse_bandwidth("--intra", "200gbit") == 2e11
    assert parse_bandwidth("--intra", "1.5Mbit") == 1.5e6
    assert parse_duration("--latency", "50us") == pytest.approx(50e-6)
    assert parse_duration("--latency", "0us") == 0.0


def test_without_a_word_it_is_the_stage_and_unknown_options_are_refused() -> None:
    assert parse([]).action is None
    for unknown in (["--workers"], ["--workers=3"], ["--models", "densenet50"], ["forecast"]):
        with pytest.raises(
            UserError, match=r"unrecognized arguments: --workers|invalid choice: '(densenet50|forecast)'"
        ):
            parse(unknown)


def test_the_command_ends_with_status_1_and_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stages.speedup", *QUESTION, "--bandwidth", "fast"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.strip().splitlines() == [
        "error: --bandwidth: fast is not allowed; allowed: a number above 0 with kbit, mbit, gbit or tbit (10gbit)"
    ]
