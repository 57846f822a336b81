"""The contract of a parallel strategy, for every method of params.yaml, on two real Horovod ranks."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.parallel.strategies import STRATEGIES
from tests.configs import UNCOMPILED
from tests.imports import ROOT
from tests.parallel.launch import TWO_HOSTS, horovodrun
from tests.parallel.strategies.common import NUM_STEPS, SNAPSHOT_STEP, build, make_model, methods
from tests.parallel.strategies.expected import EXPECTED, WORKERS

METHODS = methods()
LAST = 8
"""Steps over which the last losses are averaged: two averaging intervals, and most of the batch noise."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path: Path = tmp_path_factory.mktemp("strategies") / "results.json"
    script = ROOT / "tests/parallel/strategies/run_strategies.py"
    # A host each, so that what goes between hosts goes between these ranks.
    hosts = TWO_HOSTS.format(WORKERS // 2)
    horovodrun(script, str(path), np=WORKERS, hosts=hosts, env=UNCOMPILED)
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def test_every_registered_strategy_has_a_method_and_an_expectation(results: dict[str, Any]) -> None:
    assert {entry["strategy"] for entry in METHODS.values()} == set(STRATEGIES) == set(EXPECTED)
    assert set(results) == set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_it_learns(results: dict[str, Any], method: str) -> None:
    losses = results[method]["straight"]["losses"]
    reference = results["sdp"]["straight"]["losses"]
    start, last = reference[0], sum(losses[-LAST:]) / LAST
    assert losses[0] == start, "the first loss is that of the common first model"
    # At least a third of what sdp gains: DGC clears the momentum of what it sends, and without any momentum sdp
    # itself gains 0.29 of it (dgc with density 1, two virtual workers). What applies nothing gains nothing.
    gain = start - sum(reference[-LAST:]) / LAST
    assert gain > 1.0, "sdp itself must learn, or this says nothing"
    assert start - last > gain / 3, (start, last, gain)


@pytest.mark.parametrize("method", METHODS)
def test_replicas_agree_bit_for_bit(results: dict[str, Any], method: str) -> None:
    agreement = results[method]["straight"]["replicas_agree"]
    assert len(agreement) == 1 + NUM_STEPS // METHODS[method].get("averaging_interval", 1)
    assert all(agreement), agreement
    # Where nothing changes, agreement is no merit.
    assert len(set(results[method]["straight"]["digests"])) > len(agreement) // 2


@pytest.mark.parametrize("method", METHODS)
def test_reported_bytes_are_those_handed_to_horovod(results: dict[str, Any], method: str) -> None:
    run = results[method]["straight"]
    assert run["reported"] == run["counted"]
    assert sum(map(sum, run["counted"])) > 0


@pytest.mark.parametrize("method", METHODS)
def test_reported_bytes_are_the_expected_payload(results: dict[str, Any], method: str) -> None:
    entry = METHODS[method]
    shapes = [tuple(p.shape) for p in make_model(0).parameters()]
    choices = results[method]["straight"]["choices"][0]
    if choices:
        entry = {**entry, "choice": choices[0]}
    entry = {**entry, "room": results[method]["straight"]["room"]}
    expected = EXPECTED[entry["strategy"]](shapes, entry)
    for rank in range(WORKERS):
        assert results[method]["straight"]["reported"][rank][-1] == expected


@pytest.mark.parametrize(
    "method", [method for method in METHODS if method not in ("auto", "threshold", "inceptionn")]
)
def test_the_pattern_has_the_expected_payload(method: str) -> None:
    entry = METHODS[method]
    named = [(name, tuple(p.shape)) for name, p in make_model(0).named_parameters()]
    pattern = build(entry).pattern(named, WORKERS)
    expected = EXPECTED[entry["strategy"]]([shape for _, shape in named], entry)
    # An exchange every few steps is a mean there, and a whole one in the step that makes it here.
    assert pattern.wire_bytes() * pattern.interval == expected


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_continues_exactly(results: dict[str, Any], method: str) -> None:
    straight, resumed = results[method]["straight"], results[method]["resumed"]
    assert resumed["losses"] == straight["losses"][SNAPSHOT_STEP:]
    # The last digest of the straight run was taken after the end, when all was flushed.
    assert resumed["digests"] == straight["digests"][-1 - len(resumed["digests"]) : -1]
    assert len(resumed["digests"]) == (NUM_STEPS - SNAPSHOT_STEP) // METHODS[method].get(
        "averaging_interval", 1
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_dropped_strategy_lets_go_of_its_model(results: dict[str, Any], method: str) -> None:
    assert results[method]["released"]


@pytest.mark.parametrize("method", METHODS)
def test_no_part_of_a_step_is_negative(results: dict[str, Any], method: str) -> None:
    assert results[method]["straight"]["negative_costs"] == 0


def test_auto_chooses_alike_on_all_ranks(results: dict[str, Any]) -> None:
    first, second = results["auto"]["straight"]["choices"]
    assert first == second
    assert first[1] == "none", "the bucket of small tensors"
    assert results["auto"]["resumed"]["choices"] == [first, second], "a resumed run keeps its choice"


def test_the_modes_of_gq_have_the_same_bits(results: dict[str, Any]) -> None:
    for name in ("gq4_bucketed", "gq4_layerwise"):
        assert results[name]["straight"]["digests"] == results["gq4"]["straight"]["digests"]
    assert results["gq4"]["straight"]["digests"] != results["gq8"]["straight"]["digests"]
