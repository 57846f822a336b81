"""Traces: what the parts of a model's training step cost on one worker, and what its compressors cost beside them.

A trace is what the simulator needs of a model and a machine; `recorder` and `codecs` record one from real steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.parallel.patterns import NamedShape, Pattern
from pipelines.results import read_json
from pipelines.results.compact import write_compact_json

TENSOR_COLUMNS = ("tensors", "needed_seconds", "ready_seconds")
"""Fields of a trace with an entry for every tensor; in the file a tensor has a line."""


@dataclass(frozen=True, kw_only=True)
class Codec:
    """What a method costs the main thread in an exchange, in seconds for N workers: fixed + N * per_worker."""

    entry: Mapping[str, Any]
    """The method's entry of the section `methods`."""
    encode_fixed: float
    encode_per_worker: float
    decode_fixed: float
    decode_per_worker: float

    def encode_seconds(self, workers: int) -> float:
        """Return the seconds of encoding."""
        return self.encode_fixed + self.encode_per_worker * workers

    def decode_seconds(self, workers: int) -> float:
        """Return the seconds of decoding."""
        return self.decode_fixed + self.decode_per_worker * workers

    def scaled(self, factor: float) -> "Codec":
        """Return the codec of a machine on which it takes so many times as long."""
        times = {key: factor * value for key, value in vars(self).items() if key != "entry"}
        return Codec(entry=self.entry, **times)


def typical(samples: Sequence[float]) -> float:
    """Return the lower quartile: whatever disturbs a step, another process or a page fault, only lengthens it."""
    return float(np.quantile(samples, 0.25))


FREE = Codec(
    entry={},
    encode_fixed=0.0,
    encode_per_worker=0.0,
    decode_fixed=0.0,
    decode_per_worker=0.0,
)
"""A codec that costs nothing."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One training step of a model on one worker, in seconds; the lower quartile over the recorded steps."""

    model: str
    batch_size: int
    tensors: tuple[NamedShape, ...]
    """Trainable tensors, in the order of `named_parameters`."""
    needed_seconds: tuple[float, ...]
    """From the start of the forward pass to the module that owns the tensor."""
    ready_seconds: tuple[float, ...]
    """From the start of the backward pass to the tensor's gradient."""
    forward_seconds: float
    backward_seconds: float
    update_seconds: float
    codecs: Mapping[str, Codec]
    """By method."""
    provenance: Mapping[str, Any]
    """Where and by what it was recorded."""

    @property
    def step_seconds(self) -> float:
        """A step without any exchange."""
        return self.forward_seconds + self.backward_seconds + self.update_seconds

    def scaled_to(self, step_seconds: float, *, codecs: bool = True) -> "Trace":
        """Return the trace of a machine, or a batch size, with which a step takes so long.

        `codecs`: whether they become slower in proportion, too, as on a slower machine; not so with a larger batch.
        """
        factor = step_seconds / self.step_seconds
        code = factor if codecs else 1.0
        return replace(
            self,
            needed_seconds=tuple(factor * value for value in self.needed_seconds),
            ready_seconds=tuple(factor * value for value in self.ready_seconds),
            forward_seconds=factor * self.forward_seconds,
            backward_seconds=factor * self.backward_seconds,
            update_seconds=factor * self.update_seconds,
            codecs={method: codec.scaled(code) for method, codec in self.codecs.items()},
        )

    def write(self, path: Path) -> None:
        """Write the trace as JSON, in tenths of a microsecond."""
        times = zip(self.tensors, self.needed_seconds, self.ready_seconds, strict=True)
        tensors = [
            {
                "name": name,
                "shape": shape,
                "needed_seconds": round(needed, 7),
                "ready_seconds": round(ready, 7),
            }
            for (name, shape), needed, ready in times
        ]
        values = {key: value for key, value in asdict(self).items() if key not in TENSOR_COLUMNS}
        write_compact_json(path, {**values, "tensors": tensors})

    @classmethod
    def read(cls, path: Path) -> "Trace":
        """Read what `write` wrote; UserError where the file is missing or no JSON."""
        values = read_json(path)
        tensors = values.pop("tensors")
        codecs = {method: Codec(**codec) for method, codec in values.pop("codecs").items()}
        return cls(
            **values,
            codecs=codecs,
            tensors=tuple((tensor["name"], tuple(tensor["shape"])) for tensor in tensors),
            needed_seconds=tuple(tensor["needed_seconds"] for tensor in tensors),
            ready_seconds=tuple(tensor["ready_seconds"] for tensor in tensors),
        )


def fill_times(pattern: Pattern, trace: Trace) -> list[float]:
    """Return when each exchange has all its gradients, and those before it are started, from the backward's start."""
    times = [max((trace.ready_seconds[n] for n in each.tensors), default=0.0) for each in pattern.exchanges]
    if not pattern.one_message_a_tensor:
        for number in range(1, len(times)):
            times[number] = max(times[number], times[number - 1])
    return times
