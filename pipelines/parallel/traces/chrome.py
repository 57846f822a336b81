"""Export of a trace in Chrome's trace event format, which Perfetto (ui.perfetto.dev) and chrome://tracing read.

Format: "Trace Event Format", complete events (`ph: X`, microseconds), instant events (`i`) and metadata (`M`).
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.parallel.patterns import Pattern, numel
from pipelines.parallel.traces.trace import Trace, fill_times

Event = dict[str, Any]
MICROSECONDS = 1e6
STEP, GRADIENTS, MESSAGES = 1, 2, 3
"""Rows of the picture, as threads."""


def write_chrome_trace(trace: Trace, patterns: Mapping[str, Pattern], workers: int, path: Path) -> None:
    """Write one step: its three parts, when each gradient is there, when buckets are full, and what codecs cost.

    `patterns` by method; messages and codecs are those of so many workers.
    """
    document = {
        "traceEvents": list(chrome_events(trace, patterns, workers)),
        "displayTimeUnit": "ms",
        "otherData": {"model": trace.model, **{key: str(value) for key, value in trace.provenance.items()}},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8")


def chrome_events(trace: Trace, patterns: Mapping[str, Pattern], workers: int) -> Iterator[Event]:
    """Yield the events of one step."""
    yield _metadata("process_name", STEP, trace.model)
    for number, title in ((STEP, "step"), (GRADIENTS, "gradients")):
        yield _metadata("thread_name", number, title)
    start = 0.0
    for part in ("forward", "backward", "update"):
        seconds = getattr(trace, f"{part}_seconds")
        yield _complete(part, STEP, start, seconds, {})
        start += seconds
    order = sorted(range(len(trace.tensors)), key=lambda number: trace.ready_seconds[number])
    before = 0.0
    for number in order:
        (name, shape), ready = trace.tensors[number], trace.ready_seconds[number]
        details = {"shape": list(shape), "values": numel(shape)}
        yield _complete(name, GRADIENTS, trace.forward_seconds + before, ready - before, details)
        before = ready
    for row, (title, pattern) in enumerate(patterns.items(), start=MESSAGES):
        yield _metadata("thread_name", row, f"messages of {title}")
        for number, seconds in enumerate(fill_times(pattern, trace)):
            exchange = pattern.exchanges[number]
            yield {
                "name": f"exchange {number}",
                "ph": "i",
                "s": "t",
                "pid": 1,
                "tid": row,
                "ts": MICROSECONDS * (trace.forward_seconds + seconds),
                "args": {
                    "tensors": len(exchange.tensors),
                    "bytes": [message.num_bytes for message in exchange.rounds],
                },
            }
    yield from _codec_events(trace, patterns, workers)


def _codec_events(trace: Trace, patterns: Mapping[str, Pattern], workers: int) -> Iterator[Event]:
    """Yield a row a method with all its encoding, from the backward's start on, and all its decoding, after it."""
    backward_end = trace.forward_seconds + trace.backward_seconds
    for row, method in enumerate(patterns, start=MESSAGES + len(patterns)):
        codec = trace.codecs.get(method)
        if codec is None:
            continue
        yield _metadata("thread_name", row, f"codec of {method}, all buckets")
        encode, decode = codec.encode_seconds(workers), codec.decode_seconds(workers)
        yield _complete("encode", row, trace.forward_seconds, encode, {"workers": workers})
        yield _complete("decode", row, backward_end, decode, {"workers": workers})


def _metadata(name: str, row: int, value: str) -> Event:
    return {"name": name, "ph": "M", "pid": 1, "tid": row, "args": {"name": value}}


def _complete(name: str, row: int, start: float, seconds: float, details: Event) -> Event:
    return {
        "name": name,
        "ph": "X",
        "pid": 1,
        "tid": row,
        "ts": MICROSECONDS * start,
        "dur": MICROSECONDS * seconds,
        "args": details,
    }
