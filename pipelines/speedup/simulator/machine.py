"""What host and communication library cost beside the wire: the free parameters of the model."""

from dataclasses import dataclass, replace

from pipelines.parallel.patterns import Number
from pipelines.speedup.simulator.network import Values

PROCESSOR_TIMES = (
    "message_seconds",
    "fp32_seconds_per_byte",
    "fp16_seconds_per_byte",
    "int32_seconds_per_byte",
    "bytes_seconds_per_byte",
    "tensor_seconds",
    "hook_seconds",
    "view_seconds_per_byte",
)
"""Fields of `Machine` that a core spends."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Fitted to measured steps (`pipelines.speedup.calibration`), or `IDEAL`."""

    efficiency: Values
    """Share of a link's bandwidth that payload gets: headers, acknowledgements, gaps."""
    cycle_seconds: Values
    """Period in which the library looks for new messages (`HOROVOD_CYCLE_TIME`)."""
    cycle_share: Values
    """Share of a period that a message waits when the library is idle."""
    message_seconds: Values
    """What starting a collective takes beside that: negotiation, threads. Messages that become ready while another
    one travels are fused with those behind it, as Horovod does, and find it already paid."""
    fp32_seconds_per_byte: Values
    """Processor time of the library for each byte that a worker sends in a sum of fp32."""
    fp16_seconds_per_byte: Values
    """The same in fp16, which is summed in software."""
    int32_seconds_per_byte: Values
    """The same of packed words."""
    bytes_seconds_per_byte: Values
    """The same of messages that are gathered or scattered."""
    pair_factor: Values
    """Times the wire's time that two workers take to gather or scatter: Gloo's are half duplex on one connection."""
    tensor_seconds: Values
    """What the main thread spends on a message a tensor: hook, queue, handle (stock optimizer)."""
    hook_seconds: Values
    """The same on a tensor of a bucket: hook, count."""
    view_seconds_per_byte: Values
    """What gradients that stay in a bucket cost the main thread, per byte of fp32: they are set to zero and added to,
    where others are made anew."""
    codec_factor: Values
    """Times the codec costs of a trace, which was recorded without a library beside it."""
    core_share: Values
    """Share of the library's processor time that is taken from computing: 1 where a worker has one core, 0 where
    another core or device does it."""
    overlap_rate: Values
    """Share of its speed at which the library's processor times pass while the worker computes: below 1 where they
    share cores."""
    wire_rate: Values
    """The same of what travels: the library, on a core that is busy, answers late."""
    straggler_sigma: Values
    """Standard deviation of the logarithm of a worker's slow-down from step to step."""

    def crowded(self, factor: Values) -> "Machine":
        """Return the machine whose cores are shared by so many times as many threads.

        Its processor times are that much longer. Codecs and computing are a program's, and are not the machine's.
        """
        times = {key: factor * getattr(self, key) for key in PROCESSOR_TIMES}
        return replace(self, **times)

    def seconds_per_byte(self, number: Number) -> Values:
        """Return the processor time for each byte sent of such a message."""
        return {
            Number.FP32: self.fp32_seconds_per_byte,
            Number.FP16: self.fp16_seconds_per_byte,
            Number.INT32: self.int32_seconds_per_byte,
            Number.BYTES: self.bytes_seconds_per_byte,
        }[number]


IDEAL = Machine(
    efficiency=1.0,
    cycle_seconds=0.0,
    cycle_share=0.0,
    message_seconds=0.0,
    fp32_seconds_per_byte=0.0,
    fp16_seconds_per_byte=0.0,
    int32_seconds_per_byte=0.0,
    bytes_seconds_per_byte=0.0,
    pair_factor=1.0,
    tensor_seconds=0.0,
    hook_seconds=0.0,
    view_seconds_per_byte=0.0,
    codec_factor=1.0,
    core_share=0.0,
    overlap_rate=1.0,
    wire_rate=1.0,
    straggler_sigma=0.0,
)
"""A library that costs nothing and a device that shares nothing with it."""
