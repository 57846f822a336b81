"""Peers whose messages cannot be summed: every worker gathers the messages of all and decodes them in rank order."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch

from pipelines.parallel.compression.flat_gradients import is_compressed
from pipelines.parallel.patterns import FLOAT_BYTES, Message, NamedShape, Pattern, byte_gather, flat, numel
from pipelines.parallel.strategies.bases.flat import FlatStrategy

ALIGNMENT = 4
"""Bytes; messages are padded so that the fp32 values in a row of gathered messages are aligned."""
COUNT_BYTES = 8


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """View a contiguous tensor as uint8 [num_bytes]."""
    return tensor.contiguous().view(-1).view(torch.uint8)


def round_up(number: int, multiple: int) -> int:
    """Return the least multiple of `multiple` that is not below `number`."""
    return -(-number // multiple) * multiple


def padded_bytes(num_bytes: int) -> int:
    """Round up to `ALIGNMENT`."""
    return round_up(num_bytes, ALIGNMENT)


class GatheredStrategy(FlatStrategy):
    """One byte message a step: the small tensors in fp32, then the payload that the subclass makes of the large.

    Every worker decodes the messages of all ranks in the same order, so the replicas stay identical.
    """

    @abstractmethod
    def payload_bytes(self, large: Sequence[tuple[int, ...]], /) -> int:
        """Return the bytes of the payload for large tensors of these shapes, in the steady state."""

    def rounds(self, large: Sequence[tuple[int, ...]], /) -> tuple[Message, ...]:  # noqa: ARG002
        """Return the messages that go before the one of small tensors and payload; most have none."""
        return ()

    def pattern(self, tensors: Sequence[NamedShape], workers: int) -> Pattern:  # noqa: ARG002 - the same for all
        """One byte message after the backward pass."""
        large = [shape for _, shape in tensors if is_compressed(shape)]
        small = sum(numel(shape) for _, shape in tensors if not is_compressed(shape)) + 1
        message = byte_gather(FLOAT_BYTES * small + padded_bytes(self.payload_bytes(large)))
        return flat(tensors, *self.rounds(large), message)

    @abstractmethod
    def encode(self, large: torch.Tensor, /) -> torch.Tensor:
        """Return the payload, uint8, for the large tensors' gradients, fp32 [n]; may overwrite `large`.

        All ranks return equally many bytes.
        """

    @abstractmethod
    def decode(self, payloads: torch.Tensor, large: torch.Tensor, /) -> None:
        """Write the average that the payloads, uint8 [ranks, bytes], stand for to `large`, fp32 [n]."""

    def average(self) -> None:
        """Encode, gather, decode."""
        gradients, link = self.gradients, self.link
        with self.meter.encoding():
            payload = self.encode(gradients.large)
            num_small = gradients.small.numel() * gradients.small.element_size()
            message = torch.zeros(
                num_small + padded_bytes(payload.numel()), dtype=torch.uint8, device=payload.device
            )
            message[:num_small] = as_bytes(gradients.small)
            message[num_small : num_small + payload.numel()] = payload
        # The size is in the name: Horovod remembers the shape that a name had.
        gathered = link.start_all_gather(message, f"message.{message.numel()}").wait()
        with self.meter.decoding():
            torch.mean(gathered[:, :num_small].view(torch.float32), 0, out=gradients.small)
            self.decode(gathered[:, num_small : num_small + payload.numel()], gradients.large)


class FeedbackStrategy(GatheredStrategy):
    """Adds error feedback: what a message lost is kept in `residual` and added to the next gradient.

    Karimireddy 2019, algorithm 2: p = g + e; send C(p); e = p - C(p).
    """

    def prepare(self) -> None:
        """Allocate the residual, fp32 [n], zero at the start."""
        self.residual = torch.zeros_like(self.gradients.large)

    def state_dict(self) -> dict[str, Any]:
        """Return this rank's residual (none with one worker)."""
        return {"residual": self.residual.clone()} if self.link.workers > 1 else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the residual; raises ValueError where it belongs to another model or number of workers."""
        load_tensors(state, {"residual": self.residual} if self.link.workers > 1 else {})


class AgreedStrategy(GatheredStrategy):
    """A message whose size depends on the gradients: all workers pad to the largest one.

    How much each needs they tell each other in a round before the message.
    """

    bytes_depend_on_gradients = True

    room: int | None = None
    """What the last message had room for, in the subclass's units; None before the first."""

    def rounds(self, large: Sequence[tuple[int, ...]], /) -> tuple[Message, ...]:  # noqa: ARG002 - the same for all
        """Return the gather of what the workers need."""
        return (byte_gather(COUNT_BYTES),)

    @abstractmethod
    def select(self, large: torch.Tensor, /) -> int:
        """Choose what is sent of the large tensors' gradients, fp32 [n]; return the room that it takes.

        May overwrite `large`; `encode` is called next.
        """

    @abstractmethod
    def room_for(self, most: int, /) -> int:
        """Return what a message has room for when `most` is needed: few different sizes, which Horovod remembers."""

    def average(self) -> None:
        """Select, agree on the size of the message, then encode, gather, decode."""
        with self.meter.encoding():
            large = self.gradients.large
            need = torch.tensor([self.select(large)], device=large.device)
        self.room = self.room_for(int(self.link.start_all_gather(need, "need").wait().max()))
        super().average()


class RandomStrategy(GatheredStrategy):
    """Adds stochastic rounding: an owned generator, seeded by the option `seed` and the rank."""

    def prepare(self) -> None:
        """Seed the generator and allocate the draws, fp32 [n]."""
        self.generator = torch.Generator(self.gradients.large.device)
        # Ranks must draw independently, or their errors would not average out.
        self.generator.manual_seed(self.options.seed * 65_537 + self.link.rank)
        self.draws = torch.empty_like(self.gradients.large)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of this rank's generator (none with one worker)."""
        return {"generator": self.generator.get_state()} if self.link.workers > 1 else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the generator; raises ValueError where the state belongs to another number of workers."""
        expected = {"generator"} if self.link.workers > 1 else set()
        if state.keys() != expected:
            raise ValueError(f"the state has the keys {sorted(state)}, expected {sorted(expected)}")
        if expected:
            self.generator.set_state(state["generator"])


def load_tensors(state: dict[str, Any], targets: dict[str, torch.Tensor]) -> None:
    """Copy the tensors of `state` into `targets`, in place; ValueError, with nothing changed, on a mismatch."""
    if state.keys() != targets.keys():
        raise ValueError(f"the state has the keys {sorted(state)}, expected {sorted(targets)}")
    for key, target in targets.items():
        if state[key].shape != target.shape or state[key].dtype != target.dtype:
            raise ValueError(
                f"the state's {key} is {tuple(state[key].shape)} {state[key].dtype}, "
                f"expected {tuple(target.shape)} {target.dtype}"
            )
    for key, target in targets.items():
        target.copy_(state[key])
