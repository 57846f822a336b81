"""What both exchanges share: quantize one bucket, keep its residual and steps, and the fp32 warm-up messages."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch

from horovod_gq import scale as scales
from horovod_gq.compiling import Kernel
from horovod_gq.config import GQConfig, num_levels
from horovod_gq.kernels import kernel_set
from horovod_gq.layout import BucketLayout
from horovod_gq.packing import load_fields, num_planes, packable
from horovod_gq.scale import SharedScale

BLOCK_VALUES = 2**19
"""Values that are unpacked at a time: what a pass leaves for the next one stays in a cache."""


@dataclass
class Slot:
    """Buffers of one message in flight, with the steps by which it was encoded."""

    words: torch.Tensor
    """int32: headers and packed digits, as the codec lays them out."""
    index: torch.Tensor
    """int64 [units]: grid indices of the steps; a unit is what has one scale (a tensor, or `scale_group` values)."""
    steps: torch.Tensor
    """fp64 [units]."""
    row_steps: torch.Tensor
    """fp32 [rows]."""
    fp32: torch.Tensor | None = None
    """The message of a warm-up step; None in the steady state."""


class Quantizer(ABC):
    """Quantizes the flat gradients [rows, 128] of one bucket: residual, steps, scratch, fp32 warm-up messages.

    In the first `warmup_steps` a message is fp32 [values, one-hot magnitude per unit, canary]. The subclasses
    say what the packed messages afterwards are. Decoding divides by the number of workers.

    Args:
        layout: tensors of the bucket.
        config: settings, equal on all ranks.
        wire_bits: width of this bucket.
        workers: number of ranks N.
        rank: this rank; seeds stochastic rounding.
        device: where the gradients live.
        num_slots: messages that may be in flight at once (1 + staleness).
    """

    def __init__(
        self,
        layout: BucketLayout,
        config: GQConfig,
        wire_bits: int,
        *,
        workers: int,
        rank: int,
        device: torch.device,
        num_slots: int = 1,
    ) -> None:
        self.layout, self.config, self.wire_bits = layout, config, wire_bits
        self.workers, self.rank, self.device = workers, rank, device
        self.levels = num_levels(wire_bits, workers, config.exchange)
        clip_factor = config.clip_factor or scales.default_clip_factor(self.levels)
        numels = layout.numels(device)
        self.scale = SharedScale(numels, wire_bits, self.levels, clip_factor, workers)
        self.num_steps = 0
        self.residual = torch.zeros(layout.num_rows, self.layout.row, device=device)
        self.status = torch.zeros(layout.num_units, dtype=torch.int32, device=device)
        self._kernels = kernel_set(
            wire_bits, config.rounding, config.compile_kernels, device.type, layout.row, workers
        )
        self._planes = num_planes(wire_bits, workers)
        self._init_scratch(numels)
        self._slots = [self._new_slot() for _ in range(num_slots)]
        self._canary = scales.settings_canary(
            config.digest(wire_bits, workers, [(slot.name, slot.shape) for slot in layout.slots])
        ).to(device)

    @property
    def kernels_compiled(self) -> bool:
        """Whether the compiled kernels are in use."""
        return self._kernels.compiled

    @property
    def in_warmup(self) -> bool:
        """Whether the next message is fp32: until a calibrating one has come back, through all that are in flight."""
        return self.num_steps < self.config.warmup_steps + len(self._slots) - 1

    def check_status(self) -> list[str]:
        """Names of the tensors that are non-finite on some rank; one device-to-host copy where there are none.

        Raises:
            ValueError: a header does not count every rank (wrong reduce operation, other number of ranks).
        """
        if not bool(self.status.any()):
            return []
        status = self.status.tolist()
        found = [(slot.name, {status[unit] for unit in slot.units}) for slot in self.layout.slots]
        for name, values in found:
            if scales.MISCOUNTED in values:
                raise ValueError(scales.count_message(f"gradient of {name}", float("nan"), self.workers))
        return [name for name, values in found if scales.NONFINITE in values]

    def take_loss(self) -> torch.Tensor:
        """Return the residual fp32 [rows, row] and forget it."""
        loss = self.residual.clone()
        self.residual.zero_()
        return loss

    def drop_residual(self, name: str) -> None:
        """Forget the residual of a tensor (after a non-finite gradient, which has spoiled it)."""
        for slot in self.layout.slots:
            if slot.name == name:
                self.layout.view(self.residual, slot).zero_()

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """State by tensor name: residual (copied), grid index of the step (a list of several units), steps taken."""
        index = self.scale.index.tolist()
        indices = [[index[unit] for unit in slot.units] for slot in self.layout.slots]
        return {
            slot.name: {
                "residual": self.layout.view(self.residual, slot).clone(),
                "step_index": indices[number] if len(indices[number]) > 1 else indices[number][0],
                "num_steps": self.num_steps,
                "wire_bits": self.wire_bits,
            }
            for number, slot in enumerate(self.layout.slots)
        }

    def load_state(self, tensors: dict[str, dict[str, Any]]) -> None:
        """Take over the state of every tensor of the bucket; the caller has checked names and shapes."""
        for slot in self.layout.slots:
            entry = tensors[slot.name]
            self.layout.view(self.residual, slot).copy_(entry["residual"])
            units = slice(slot.units.start, slot.units.stop)
            self.scale.index[units] = torch.as_tensor(entry["step_index"], device=self.device)
            self.num_steps = int(entry["num_steps"])

    def _init_scratch(self, numels: torch.Tensor) -> None:
        rows, device = self.layout.num_rows, self.device
        self._row_owners = self.layout.row_owners(device)
        self._numels = numels
        self._limit = torch.tensor(float(self.levels), device=device)
        self._bound = torch.tensor(self.config.residual_limit * self.levels, device=device)
        self._digit_units = torch.tensor(self.scale.digit_units, device=device)
        self._row_statistic, self._inverse_steps, self._row_scale = (
            torch.zeros(rows, device=device) for _ in range(3)
        )
        self._row_statistic64 = torch.zeros(rows, dtype=torch.float64, device=device)
        self._sum_squares = torch.zeros_like(numels)
        self._step_key = torch.zeros((), dtype=torch.int32, device=device)
        self._keys: tuple[torch.Tensor, ...] = ()
        if self.config.rounding == "stochastic":
            keys = row_keys(self.layout, self.config.seed, self.rank).to(device)
            self._keys = (keys, self._step_key)

    @abstractmethod
    def num_message_words(self) -> int:
        """Int32 words of the message that `encode` returns in the steady state."""

    @abstractmethod
    def _make_digits(self, flat: torch.Tensor, slot: Slot) -> None:
        """Quantize `flat` with the steps of the slot; mutates residual, row statistic and digits."""

    def _quantize_rows(
        self, kernel: Kernel, rows: slice, flat: torch.Tensor, slot: Slot, digits: torch.Tensor
    ) -> None:
        """Run `kernel` on some rows of the bucket; `digits` are those of these rows."""
        sources = (flat, self.residual, self._inverse_steps, slot.row_steps)
        kernel(
            *(unviewed(tensor[rows]) for tensor in sources),
            self._limit,
            self._bound,
            self._digit_units,
            digits,
            unviewed(self._row_statistic[rows]),
            *(unviewed(keys[rows]) for keys in self._keys[:1]),
            *self._keys[1:],
        )

    def _pack(self, digits: torch.Tensor, words: torch.Tensor) -> None:
        """Write `digits` [rows, row] to int32 `words`."""
        self._kernels.pack(unviewed(packable(digits, self.wire_bits, self.workers)), unviewed(words))

    def _unpack(self, words: torch.Tensor, scale: torch.Tensor, out: torch.Tensor) -> None:
        """Write the digits of int32 `words` times `scale`, fp32 [rows], to `out` [rows, row]; mutates the words."""
        planes, scales = out.view(self._planes, -1, self.layout.row), scale.view(self._planes, -1)
        num_rows, block = scales.shape[1], max(1, BLOCK_VALUES // (self._planes * self.layout.row))
        if num_rows <= block:
            self._unpack_block(words, scales, planes)
            return
        parts = torch.split(words.view(num_rows, -1), block)
        blocks = zip(parts, torch.split(scales, block, 1), torch.split(planes, block, 1), strict=True)
        for part in blocks:
            self._unpack_block(*part)

    def _unpack_block(self, words: torch.Tensor, scales: torch.Tensor, planes: torch.Tensor) -> None:
        tensors = [unviewed(tensor) for tensor in (*planes.unbind(), *scales.unbind())]
        load_fields(words, tensors[self._planes - 1], self.wire_bits)
        self._kernels.unpack(*tensors)

    def start(self, flat: torch.Tensor, slot: Slot) -> bool:
        """Begin a step: make the fp32 message in warm-up and return True, else quantize `flat` and return False.

        Mutates residual, digits, step counter and the slot; `sum_squares` then holds the magnitudes.
        """
        warmup = self.in_warmup
        if warmup:
            slot.fp32 = self._encode_fp32(flat)
        else:
            slot.fp32 = None
            self._load_steps(slot)
            self._quantize(flat, slot)
        self.num_steps += 1
        return warmup

    def _new_slot(self) -> Slot:
        num_units, device = self.layout.num_units, self.device
        return Slot(
            words=torch.zeros(self.num_message_words(), dtype=torch.int32, device=device),
            index=torch.zeros(num_units, dtype=torch.int64, device=device),
            steps=torch.zeros(num_units, dtype=torch.float64, device=device),
            row_steps=torch.zeros(self.layout.num_rows, device=device),
        )

    def _load_steps(self, slot: Slot) -> None:
        slot.index.copy_(self.scale.index)
        self.scale.steps(slot.index, slot.steps)
        torch.index_select(slot.steps.to(torch.float32), 0, self._row_owners, out=slot.row_steps)
        torch.reciprocal(slot.row_steps, out=self._inverse_steps)

    @torch.no_grad()
    def _quantize(self, flat: torch.Tensor, slot: Slot) -> None:
        if self._keys:
            # Weyl sequence: the finalizer in the kernel does the mixing.
            self._step_key.fill_(wrap_int32(self.num_steps * 0x6C8E9CF5))
        self._make_digits(flat, slot)
        self._row_statistic64.copy_(self._row_statistic)
        self._sum_squares.zero_().index_add_(0, self._row_owners, self._row_statistic64)
        if not self.config.error_feedback:
            self.residual.zero_()

    def _encode_fp32(self, flat: torch.Tensor) -> torch.Tensor:
        squares = flat.double().square().sum(1)
        mean_square = (
            torch.zeros_like(self._sum_squares).index_add_(0, self._row_owners, squares) / self._numels
        )
        target = self.scale.absolute_target(mean_square)
        one_hot = torch.nn.functional.one_hot(target, scales.NUM_STEPS).float()
        one_hot[(mean_square == 0) | ~torch.isfinite(mean_square)] = 0.0
        return torch.cat([flat.reshape(-1), one_hot.view(-1), self._canary])

    def _decode_fp32(self, message: torch.Tensor, out: torch.Tensor) -> None:
        num_units = self.layout.num_units
        values, histogram, canary = torch.split(
            message, [self.layout.num_values, num_units * scales.NUM_STEPS, scales.CANARY_SIZE]
        )
        names = ", ".join(slot.name for slot in self.layout.slots[:3])
        scales.check_canary(canary, self.workers, f"gradients of {names}")
        torch.div(values.view_as(out), self.workers, out=out)
        counted = histogram.view(num_units, scales.NUM_STEPS) > 0
        largest = (counted * torch.arange(scales.NUM_STEPS, device=self.device)).amax(1)
        self.scale.index.copy_(torch.where(counted.any(1), largest, self.scale.index))
        bad_rows = (~torch.isfinite(out)).any(1).to(torch.int32)
        bad = torch.zeros_like(self.status).index_add_(0, self._row_owners, bad_rows)
        self.status.copy_((bad > 0) * scales.NONFINITE)


def unviewed(tensor: torch.Tensor) -> torch.Tensor:
    """Return the same memory, no view to autograd: torch.compile specializes kernels on views and offsets."""
    return tensor.data


def row_keys(layout: BucketLayout, seed: int, rank: int) -> torch.Tensor:
    """int32 [rows]: a hash of seed, rank, tensor name and row in the tensor, whatever bucket it lies in."""
    keys = torch.zeros(layout.num_rows, dtype=torch.int32)
    for slot in layout.slots:
        digest = hashlib.sha256(f"{seed}/{rank}/{slot.name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        drawn = torch.randint(-(2**31), 2**31, (slot.num_rows,), generator=generator, dtype=torch.int64)
        keys[slot.first_row : slot.first_row + slot.num_rows] = drawn.to(torch.int32)
    return keys


def wrap_int32(value: int) -> int:
    """Reduce an integer to the int32 with the same low 32 bits."""
    return (value + 2**31) % 2**32 - 2**31
