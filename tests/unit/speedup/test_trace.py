"""Traces: recorded from real steps, kept in files, exported for Perfetto."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipelines.parallel.strategies import strategy_of
from pipelines.parallel.traces.chrome import write_chrome_trace
from pipelines.parallel.traces.echo import EchoCollectives
from pipelines.parallel.traces.recorder import record_trace
from pipelines.parallel.traces.trace import FREE, Codec, Trace, fill_times
from tests.unit.speedup.traces import METHODS, make_trace


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 10)
    )


BATCHES = [(torch.ones(4, 1, 8, 8) * number, torch.arange(4)) for number in (1, 2)]


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


def record(*methods: str) -> Trace:
    entries = {method: METHODS[method] for method in methods}
    return record_trace("net", make_net(), BATCHES, sgd, entries, warmup_steps=1, steps=3)


def test_a_trace_has_the_order_of_the_real_steps() -> None:
    model = make_net()
    before = [parameter.clone() for parameter in model.parameters()]
    trace = record_trace("net", model, BATCHES, sgd, {}, warmup_steps=1, steps=3)
    names = [name for name, _ in trace.tensors]
    assert names == [name for name, _ in model.named_parameters()]
    ready = dict(zip(names, trace.ready_seconds, strict=True))
    needed = dict(zip(names, trace.needed_seconds, strict=True))
    # Gradients come from the last layer to the first, modules are needed the other way round.
    assert ready["5.weight"] < ready["3.weight"] < ready["1.weight"] <= trace.backward_seconds
    assert (
        needed["1.weight"]
        == needed["1.bias"]
        < needed["3.weight"]
        < needed["5.weight"]
        < trace.forward_seconds
    )
    assert trace.batch_size == 4
    assert trace.step_seconds == trace.forward_seconds + trace.backward_seconds + trace.update_seconds
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)), (
        "not trained"
    )


def test_codecs_are_timed_where_something_is_encoded() -> None:
    trace = record("sdp", "gq8_bucketed", "gq8_layerwise", "topk", "ssp")
    coded = trace.codecs["gq8_bucketed"]
    assert coded.encode_seconds(2) > 0 < coded.decode_seconds(2)
    # Summed messages are decoded once, gathered ones from every worker.
    assert coded.decode_per_worker == 0.0
    assert trace.codecs["topk"].decode_seconds(64) >= trace.codecs["topk"].decode_seconds(2) > 0
    # The same messages at another time: the same codec.
    layerwise = trace.codecs["gq8_layerwise"]
    assert layerwise.entry == METHODS["gq8_layerwise"]
    assert layerwise.encode_fixed == coded.encode_fixed


def test_echoes_are_what_equal_workers_send() -> None:
    link = EchoCollectives(3)
    mine = torch.arange(6.0).view(3, 2)
    assert link.start_all_gather(mine, "gather").wait().tolist() == [mine.tolist()] * 3
    assert link.start_all_to_all(mine, "swap").wait().tolist() == [[0.0, 1.0]] * 3
    total = mine.clone()
    assert link.start_sum(total, "sum").wait() is total
    assert total.tolist() == (3 * mine).tolist()


def test_a_trace_survives_its_file(tmp_path: Path) -> None:
    trace = record("gq4_bucketed", "qsgd")
    trace.write(tmp_path / "net.json")
    read = Trace.read(tmp_path / "net.json")
    assert read.tensors == trace.tensors
    assert read.codecs == trace.codecs
    assert read.step_seconds == trace.step_seconds
    # Stored in tenths of a microsecond.
    assert read.ready_seconds == pytest.approx(trace.ready_seconds, abs=1e-7)


def test_scaling_a_trace() -> None:
    codec = FREE.scaled(1.0)
    trace = make_trace(type(codec)(**{**vars(codec), "encode_fixed": 0.002}))
    slow = trace.scaled_to(0.3)
    assert slow.step_seconds == pytest.approx(0.3)
    assert slow.ready_seconds == pytest.approx([3 * value for value in trace.ready_seconds])
    assert slow.codecs["topk"].encode_fixed == pytest.approx(0.006)
    # A larger batch takes longer to compute, not to encode.
    assert trace.scaled_to(0.3, codecs=False).codecs["topk"].encode_fixed == 0.002


def test_buckets_fill_in_the_order_in_which_they_are_sent() -> None:
    trace = make_trace()
    pattern = strategy_of(METHODS["gq4_bucketed"], "gq4").pattern(trace.tensors, 2)
    times = fill_times(pattern, trace)
    assert times == sorted(times)
    for exchange, seconds in zip(pattern.exchanges, times, strict=True):
        assert seconds >= max(trace.ready_seconds[number] for number in exchange.tensors)
    assert times[-1] == trace.backward_seconds


def test_the_chrome_trace_is_what_perfetto_reads(tmp_path: Path) -> None:
    codec = Codec(**{**vars(FREE), "encode_fixed": 0.002, "decode_per_worker": 0.001})
    trace = make_trace(codec)
    patterns = {
        method: strategy_of(METHODS[method], method).pattern(trace.tensors, 2)
        for method in ("gq4_bucketed", "gq4_scatter")
    }
    write_chrome_trace(trace, patterns, 2, tmp_path / "trace.json")
    document: dict[str, Any] = json.loads((tmp_path / "trace.json").read_text())
    events = document["traceEvents"]
    # "Trace Event Format": the fields that each phase requires.
    for event in events:
        assert {"name", "ph", "pid", "tid"} <= event.keys()
        assert event["ph"] in {"X", "M", "i"}
        if event["ph"] == "X":
            assert event["ts"] >= 0 <= event["dur"]
        if event["ph"] == "i":
            assert event["s"] in {"t", "p", "g"}
            assert event["ts"] >= 0
        if event["ph"] == "M":
            assert event["name"] in {"process_name", "thread_name"}
            assert isinstance(event["args"]["name"], str)
    complete = {event["name"]: event for event in events if event["ph"] == "X"}
    assert complete["backward"]["ts"] == pytest.approx(30_000)
    assert complete["backward"]["dur"] == pytest.approx(60_000)
    assert complete["update"]["ts"] == pytest.approx(90_000)
    # The last gradient ends with the backward pass.
    first = complete["first.weight"]
    assert first["ts"] + first["dur"] == pytest.approx(90_000)
    named = {event["tid"] for event in events if event["ph"] == "M" and event["name"] == "thread_name"}
    assert {event["tid"] for event in events} == named
    fills = [event for event in events if event["ph"] == "i"]
    assert len(fills) == sum(len(pattern.exchanges) for pattern in patterns.values())
    assert not any(math.isnan(event["ts"]) for event in fills)
    assert fills[-1]["args"]["bytes"], "messages have sizes"
    # Encoding begins with the backward pass, decoding after it; 2 and 2 * 1 ms.
    assert (complete["encode"]["ts"], complete["encode"]["dur"]) == pytest.approx((30_000, 2_000))
    assert (complete["decode"]["ts"], complete["decode"]["dur"]) == pytest.approx((90_000, 2_000))
