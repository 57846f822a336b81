"""Communication patterns: which messages a strategy sends in a step, of how many bytes, by what, and when.

A strategy describes its pattern once (`Strategy.pattern`). The bytes that a worker is expected to send and the
simulator of `pipelines.speedup` both follow from it. The helpers below build the patterns of the usual families:
a message a tensor, GQ's buckets, one flat vector. A pattern is that of the steady state: warm-up steps, the first
uncompressed message of GQ and trials are no part of it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import torch

from horovod_gq.buckets import DEFAULT_BUCKET_BYTES, Form, assign_buckets
from horovod_gq.config import UNCOMPRESSED, GQConfig
from horovod_gq.layout import NARROW_ROW, BucketLayout
from horovod_gq.matrices import Matrix
from horovod_gq.packing import num_planes, num_words
from horovod_gq.scale import CANARY_SIZE, header_words

NamedShape = tuple[str, tuple[int, ...]]
"""Name and shape of a trainable tensor."""
FLOAT_BYTES = 4
WORD_BYTES = 4


class Collective(Enum):
    """What carries a message, by the algorithm whose bytes are counted."""

    SUM = "sum"
    """Ring all-reduce (Patarasuk & Yuan 2009)."""
    ALL_GATHER = "all-gather"
    """Ring all-gather: each worker's payload passes every link but one."""
    ALL_TO_ALL = "all-to-all"
    """A worker keeps its own row and sends every other one to its owner."""

    def sent_per_byte(self, workers: int) -> float:
        """Return the bytes that a worker sends for each byte of payload that it hands over."""
        if self is Collective.SUM:
            return 2 * (workers - 1) / workers
        if self is Collective.ALL_GATHER:
            return workers - 1
        return (workers - 1) / workers


class Number(Enum):
    """What a message is made of; what summing costs depends on it."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT32 = "int32"
    BYTES = "bytes"
    """Never summed on the way."""


class Start(Enum):
    """When a worker may start an exchange."""

    BACKWARD = "backward"
    """As soon as the gradients of its tensors are there, and those of the exchanges before it are started."""
    STEP = "step"
    """When the backward pass has ended."""


class Apply(Enum):
    """When a worker needs the result of an exchange."""

    STEP = "step"
    """Before the optimizer's step: of this step's exchange, or with staleness s of that s steps earlier."""
    MODULE = "module"
    """Before the next forward pass of the first module that owns one of its tensors."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One collective: payload that each worker hands over, in bytes."""

    collective: Collective
    num_bytes: int
    number: Number

    def sent_bytes(self, workers: int) -> float:
        """Return what a worker sends."""
        return self.num_bytes * self.collective.sent_per_byte(workers)


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """Tensors that travel together, in one or more rounds; a round starts when the one before has arrived."""

    tensors: tuple[int, ...]
    """Positions of the tensors in the model's list."""
    rounds: tuple[Message, ...]


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """What a strategy sends in the steady state."""

    exchanges: tuple[Exchange, ...]
    """In the order in which they are started."""
    start: Start
    apply: Apply = Apply.STEP
    interval: int = 1
    """Steps from one exchange to the next."""
    staleness: int = 0
    """Steps that a sum may take until it is applied."""
    one_message_a_tensor: bool = False
    """Whether the library is called for every tensor by itself, by the hooks of the stock optimizer."""

    def wire_bytes(self) -> float:
        """Return the payload that a worker hands to the collectives, per step."""
        return sum(m.num_bytes for each in self.exchanges for m in each.rounds) / self.interval

    def sent_bytes(self, workers: int) -> float:
        """Return what of it, and of the others' payload, a worker sends, per step."""
        total = sum(m.sent_bytes(workers) for each in self.exchanges for m in each.rounds)
        return total / self.interval


def numel(shape: Sequence[int]) -> int:
    """Return the number of values of a tensor of this shape."""
    return math.prod(shape)


def per_tensor(tensors: Sequence[NamedShape], message_of: Callable[[NamedShape], Message]) -> Pattern:
    """One message a tensor, in the order of the gradients: about the reverse of the parameters."""
    order = reversed(range(len(tensors)))
    exchanges = [Exchange(tensors=(number,), rounds=(message_of(tensors[number]),)) for number in order]
    return Pattern(exchanges=tuple(exchanges), start=Start.BACKWARD, one_message_a_tensor=True)


def float_sum(num_values: int, number: Number = Number.FP32) -> Message:
    """Return the sum of so many fp32 or fp16 values."""
    size = 2 if number is Number.FP16 else FLOAT_BYTES
    return Message(collective=Collective.SUM, num_bytes=size * num_values, number=number)


def byte_gather(num_bytes: int) -> Message:
    """Return the all-gather of a byte message."""
    return Message(collective=Collective.ALL_GATHER, num_bytes=num_bytes, number=Number.BYTES)


def word_sum(num_words: int) -> Message:
    """Return the sum of so many int32 words."""
    return Message(collective=Collective.SUM, num_bytes=WORD_BYTES * num_words, number=Number.INT32)


def quantized_rounds(
    tensors: Sequence[NamedShape], form: Form, workers: int, config: GQConfig
) -> tuple[Message, ...]:
    """Return the rounds of a bucket of one width of GQ: packed words summed, or scattered and gathered."""
    width, group = form.wire_bits, config.scale_group
    if config.exchange == "allreduce":
        layout = BucketLayout(tensors, num_planes(width, workers), form.row, group)
        words = num_words(layout.num_values, width, workers)
        return (word_sum(layout.num_units * header_words(width) + words),)
    layout = BucketLayout(tensors, num_planes(width, workers) * workers, form.row, group)
    owners = layout.row_owners(torch.device("cpu")).view(workers, -1)
    # A chunk's rows belong to consecutive units, so its segments are counted by its ends.
    segments = int((owners[:, -1] - owners[:, 0]).max()) + 1
    chunk = WORD_BYTES * (layout.num_values // workers * width // 32 + -(-segments // WORD_BYTES))
    scatter = Message(collective=Collective.ALL_TO_ALL, num_bytes=workers * chunk, number=Number.BYTES)
    return scatter, byte_gather(chunk)


def lowrank_rounds(
    tensors: Sequence[NamedShape], form: Form, workers: int, config: GQConfig
) -> tuple[Message, ...]:
    """Return the rounds of a bucket of matrices: those of all columns of P, then those of all columns of Q."""
    matrices = [Matrix.of(name, shape, config.factor_rank) for name, shape in tensors]
    columns = replace(config, scale_group=None)
    vectors = Form(form.wire_bits, row=NARROW_ROW)
    p, q = ([each for matrix in matrices for each in matrix.factor(kind)] for kind in ("p", "q"))
    return (
        *quantized_rounds(p, vectors, workers, columns),
        *quantized_rounds(q, vectors, workers, columns),
    )


def bucket_rounds(
    tensors: Sequence[NamedShape], form: Form, workers: int, config: GQConfig
) -> tuple[Message, ...]:
    """Return the rounds of a bucket of the fast path, in its form."""
    if form.lowrank:
        return lowrank_rounds(tensors, form, workers, config)
    if form.wire_bits == UNCOMPRESSED:
        return (float_sum(sum(numel(shape) for _, shape in tensors) + CANARY_SIZE),)
    return quantized_rounds(tensors, form, workers, config)


def bucketed(
    tensors: Sequence[NamedShape],
    workers: int,
    config: GQConfig,
    *,
    bucket_bytes: int = DEFAULT_BUCKET_BYTES,
    apply: Apply = Apply.STEP,
    interval: int = 1,
) -> Pattern:
    """GQ's fast path: a bucket leaves when it is full; those of small tensors carry a canary of the settings."""
    place = {name: number for number, (name, _) in enumerate(tensors)}
    exchanges = []
    for form, names in assign_buckets(tensors, config, bucket_bytes):
        members = tuple(place[name] for name in names)
        rounds = bucket_rounds([tensors[member] for member in members], form, workers, config)
        exchanges.append(Exchange(tensors=members, rounds=rounds))
    start = Start.STEP if interval > 1 else Start.BACKWARD
    return Pattern(exchanges=tuple(exchanges), start=start, apply=apply, interval=interval)


def flat(tensors: Sequence[NamedShape], *rounds: Message, staleness: int = 0) -> Pattern:
    """All tensors together, when the backward pass has ended."""
    exchange = Exchange(tensors=tuple(range(len(tensors))), rounds=rounds)
    return Pattern(exchanges=(exchange,), start=Start.STEP, staleness=staleness)
