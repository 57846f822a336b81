"""How one bucket travels: encode, start the collectives, wait, decode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from horovod_gq import scale as scales
from horovod_gq.codec import BucketCodec
from horovod_gq.collectives import Collectives, Pending
from horovod_gq.config import GQConfig
from horovod_gq.layout import ROW, BucketLayout
from horovod_gq.packing import num_planes
from horovod_gq.scatter import ScatterCodec
from horovod_gq.timing import Timings

NamedShape = tuple[str, tuple[int, ...]]


class Exchange(Protocol):
    """The life of a message: `start`, then `advance` once for every further collective, then `finish`."""

    flat: torch.Tensor
    views: list[torch.Tensor]
    bytes_per_step: int
    collectives_per_step: int

    def start(self, slot: int, gradients: torch.Tensor | None = None) -> None:
        """Encode `gradients`, in the layout of `flat`, and start the first collective; None: what `flat` holds.

        Both may be overwritten afterwards.
        """
        ...

    def advance(self, slot: int) -> None:
        """Wait for a collective and start the next one; nothing where the last one is under way."""
        ...

    def finish(self, slot: int) -> None:
        """Wait and write the average into `flat`."""
        ...

    def failures(self) -> list[str]:
        """Names of the tensors of the last `finish` that are not finite on some rank; ValueError on a mismatch."""
        ...

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """State by tensor name."""
        ...

    def load_state(self, tensors: dict[str, dict[str, Any]]) -> None:
        """Take over a state that has been checked."""
        ...


class PlainExchange:
    """Tensors that travel in fp32: batch norm, biases, small ones. One sum, with the settings' canary behind."""

    collectives_per_step = 1

    def __init__(
        self,
        name: str,
        tensors: Sequence[NamedShape],
        config: GQConfig,
        collectives: Collectives,
        device: torch.device,
        num_slots: int,
    ) -> None:
        self._name, self._names, self._collectives = name, [tensor for tensor, _ in tensors], collectives
        sizes = [math.prod(shape) for _, shape in tensors]
        self.flat = torch.zeros(sum(sizes), device=device)
        self.views = [
            part.view(shape) for part, (_, shape) in zip(torch.split(self.flat, sizes), tensors, strict=True)
        ]
        self._canary = scales.settings_canary(config.digest(collectives.workers, list(tensors))).to(device)
        size = self.flat.numel() + scales.CANARY_SIZE
        self._messages = [torch.empty(size, device=device) for _ in range(num_slots)]
        self._pending: dict[int, Pending] = {}
        self._checked = False
        self.bytes_per_step = self._messages[0].numel() * 4

    def start(self, slot: int, gradients: torch.Tensor | None = None) -> None:
        """Copy the gradients and the canary into the message and start the sum."""
        message = self._messages[slot]
        message[: self.flat.numel()].copy_(self.flat if gradients is None else gradients)
        message[self.flat.numel() :].copy_(self._canary)
        self._pending[slot] = self._collectives.start_sum(message, f"{self._name}.{slot}")

    def advance(self, slot: int) -> None:
        """Do nothing: there is one collective."""

    def finish(self, slot: int) -> None:
        """Wait and write the average into `flat`."""
        message = self._pending.pop(slot).wait()
        if not self._checked:
            canary = message[self.flat.numel() :]
            scales.check_canary(canary, self._collectives.workers, f"gradients of {self._names[0]}, ...")
            self._checked = True
        torch.div(message[: self.flat.numel()], self._collectives.workers, out=self.flat)

    def failures(self) -> list[str]:
        """Names of the tensors that are not finite on some rank."""
        if bool(torch.isfinite(self.flat).all()):
            return []
        return [
            name
            for name, view in zip(self._names, self.views, strict=True)
            if not bool(torch.isfinite(view).all())
        ]

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return nothing: fp32 messages leave no residual."""
        return {}

    def load_state(self, tensors: dict[str, dict[str, Any]]) -> None:
        """Do nothing."""


class QuantizedExchange:
    """A bucket of one wire width, by either exchange."""

    def __init__(
        self,
        name: str,
        tensors: Sequence[NamedShape],
        config: GQConfig,
        wire_bits: int,
        collectives: Collectives,
        device: torch.device,
        num_slots: int,
        timings: Timings,
        *,
        row: int = ROW,
    ) -> None:
        self._name, self._collectives, self._timings = name, collectives, timings
        scatter = config.exchange == "scatter_reduce_allgather"
        row_multiple = num_planes(wire_bits, collectives.workers) * (collectives.workers if scatter else 1)
        layout = BucketLayout(tensors, row_multiple, row, config.scale_group)
        self.codec: BucketCodec | ScatterCodec = (ScatterCodec if scatter else BucketCodec)(
            layout,
            config,
            wire_bits,
            workers=collectives.workers,
            rank=collectives.rank,
            device=device,
            num_slots=num_slots,
        )
        self.flat = torch.zeros(layout.num_rows, row, device=device)
        self.views = [layout.view(self.flat, slot) for slot in layout.slots]
        self._pending: dict[int, Pending] = {}
        self._summed: set[int] = set()
        self.bytes_per_step = self.codec.num_message_words() * 4
        self.collectives_per_step = 1
        if isinstance(self.codec, ScatterCodec):
            self.bytes_per_step += self.codec.gather_bytes
            self.collectives_per_step = 2

    def start(self, slot: int, gradients: torch.Tensor | None = None) -> None:
        """Encode the gradients and start the first collective."""
        warmup = self.codec.in_warmup
        with self._timings.encoding(self.codec.device):
            message = self.codec.encode(self.flat if gradients is None else gradients, slot)
        name = f"{self._name}.{slot}"
        if warmup or isinstance(self.codec, BucketCodec):
            self._summed.add(slot)
            self._pending[slot] = self._collectives.start_sum(message, name)
        else:
            self._pending[slot] = self._collectives.start_all_to_all(message, name)

    def advance(self, slot: int) -> None:
        """Reduce this rank's chunk and start gathering, with `scatter_reduce_allgather`."""
        if slot in self._summed or not isinstance(self.codec, ScatterCodec):
            return
        received = self._pending.pop(slot).wait()
        with self._timings.decoding(self.codec.device):
            message = self.codec.reduce(received)
        self._summed.add(slot)
        self._pending[slot] = self._collectives.start_all_gather(
            message.clone(), f"{self._name}.gather.{slot}"
        )

    def at_last(self, slot: int) -> bool:
        """Whether the last collective of the message is under way."""
        return slot in self._summed

    def finish(self, slot: int) -> None:
        """Wait and write the average into `flat`."""
        self.advance(slot)
        self._summed.discard(slot)
        message = self._pending.pop(slot).wait()
        with self._timings.decoding(self.codec.device):
            self.codec.decode(message, self.flat, slot)

    def take_loss(self) -> torch.Tensor:
        """Return what this rank's last message lacks, in the layout of `flat`, and keep it for no later one.

        The sum over the ranks is the number of workers times what the average lacks.
        """
        return self.codec.take_loss()

    def failures(self) -> list[str]:
        """Names of the tensors that are not finite on some rank; their residuals are dropped."""
        names = self.codec.check_status()
        for name in names:
            self.codec.drop_residual(name)
        return names

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """State by tensor name."""
        return self.codec.state_dict()

    def load_state(self, tensors: dict[str, dict[str, Any]]) -> None:
        """Take over a state that has been checked."""
        self.codec.load_state(tensors)
