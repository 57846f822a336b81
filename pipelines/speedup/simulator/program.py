"""What each worker does in a step, in the order of its main thread: a pattern laid over a trace."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.parallel.patterns import FLOAT_BYTES, Apply, Exchange, Pattern, Start, numel
from pipelines.parallel.traces.trace import Codec, Trace, fill_times

OVERHEAD_VALUES = 20_000
"""Coding an exchange costs as much as so many further values: some 0.1 ms of calls, 5 ns a value."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A step of one method on one model; all in seconds of the trace.

    A list of pairs holds (seconds of computing since the pair before, number of an exchange).
    """

    pattern: Pattern
    sends: tuple[tuple[float, int], ...]
    """Exchanges in the order in which the backward pass completes them; empty where they start after it."""
    needs: tuple[tuple[float, int], ...]
    """Exchanges in the order in which the forward pass needs them; empty unless it waits module by module."""
    forward: float
    backward: float
    update: float
    encode: tuple[float, ...]
    """By exchange, all rounds."""
    decode: tuple[float, ...]
    num_bytes: tuple[int, ...]
    """Bytes of the exchange's gradients in fp32."""

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """The pattern's."""
        return self.pattern.exchanges


def build_program(pattern: Pattern, trace: Trace, codec: Codec, workers: int) -> Program:
    """Lay `pattern` over `trace`; the codec's cost is shared out among the exchanges by their values."""
    sizes = [sum(numel(trace.tensors[number][1]) for number in each.tensors) for each in pattern.exchanges]
    weights = [OVERHEAD_VALUES + size for size in sizes]
    shares = [weight / sum(weights) for weight in weights]
    encode, decode = codec.encode_seconds(workers), codec.decode_seconds(workers)
    return Program(
        pattern=pattern,
        sends=fill_order(pattern, trace) if pattern.start is Start.BACKWARD else (),
        needs=need_order(pattern, trace) if pattern.apply is Apply.MODULE else (),
        forward=trace.forward_seconds,
        backward=trace.backward_seconds,
        update=trace.update_seconds,
        encode=tuple(share * encode for share in shares),
        decode=tuple(share * decode for share in shares),
        num_bytes=tuple(FLOAT_BYTES * values for values in sizes),
    )


def fill_order(pattern: Pattern, trace: Trace) -> tuple[tuple[float, int], ...]:
    """Return the exchanges in the order in which they are complete, each with the seconds since the one before."""
    return _gaps(fill_times(pattern, trace))


def need_order(pattern: Pattern, trace: Trace) -> tuple[tuple[float, int], ...]:
    """Return the exchanges in the order in which a forward pass needs them, each with the seconds since the last."""
    return _gaps([min(trace.needed_seconds[n] for n in each.tensors) for each in pattern.exchanges])


def _gaps(times: Sequence[float]) -> tuple[tuple[float, int], ...]:
    order = sorted(range(len(times)), key=lambda number: times[number])
    before = [0.0, *(times[number] for number in order)]
    return tuple((times[number] - last, number) for number, last in zip(order, before, strict=False))
