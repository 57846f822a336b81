"""Messages that are never summed: `exchange="scatter_reduce_allgather"`.

Each rank owns one of N equal chunks of the bucket. Every rank sends every owner its packed digits of that
chunk, with its own steps; the owner decodes and averages them, adds what it lost in the step before (the second
error feedback), quantizes the average anew, and all ranks gather the N requantized chunks. Every rank, the
owner included, decodes the same words, so replicas stay bit-identical. A rank hands B (1 + 1/N) bytes to the
collectives for a bucket of B packed bytes, whatever the number of workers, and the whole lane is used for
levels: no room for sums is needed. (As in CGX, Markov 2022, and DeepSpeed's 1-bit Adam, Tang 2021.)
"""

from __future__ import annotations

from typing import Any

import torch

from horovod_gq import scale as scales
from horovod_gq.packing import digit_dtype
from horovod_gq.quantizer import Quantizer, Slot, row_keys

NONFINITE_CODE = 255
"""Code of a step index that marks a tensor with a non-finite value."""


class ScatterCodec(Quantizer):
    """Three phases: `encode` -> all-to-all -> `reduce` -> all-gather -> `decode`.

    A chunk message is int32 [packed digits of the chunk, one byte per segment: the grid index of its step],
    a segment being what one tensor has in one chunk. The bucket's rows must divide into N chunks of whole planes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rows, workers = self.layout.num_rows, self.workers
        if rows % (workers * self._planes):
            raise ValueError(f"{rows} rows do not divide into {workers} chunks of {self._planes} planes")
        self._chunk_rows = rows // workers
        self._init_segments()
        chunk, device = self._chunk_rows, self.device
        self.reduce_residual = torch.zeros(chunk, self.layout.row, device=device)
        self._average, self._decoded = (torch.zeros(chunk, self.layout.row, device=device) for _ in range(2))
        dtype = digit_dtype(self.wire_bits)
        self._digits = torch.zeros(rows, self.layout.row, dtype=dtype, device=device)
        self._chunk_digits = torch.zeros(chunk, self.layout.row, dtype=dtype, device=device)
        self._chunk_statistic, self._chunk_inverse, self._chunk_steps = (
            torch.zeros(chunk, device=device) for _ in range(3)
        )
        self._reduce_keys: tuple[torch.Tensor, ...] = ()
        if self._keys:
            keys = row_keys(self.layout, self.config.seed + 1, self.rank).view(workers, -1)[self.rank]
            self._reduce_keys = (keys.to(device), self._step_key)
        self._step_table = scales.step_grid().to(device)
        self._gather_words = torch.zeros(self._chunk_words, dtype=torch.int32, device=device)

    @property
    def _digit_words(self) -> int:
        return self.layout.num_rows // self.workers * self.layout.row * self.wire_bits // 32

    @property
    def _chunk_words(self) -> int:
        """Words of a chunk message; every chunk has room for as many step codes as the fullest one needs."""
        return self._digit_words + -(-self._max_segments() // 4)

    def num_message_words(self) -> int:
        """Int32 words of the message that `encode` returns in the steady state."""
        return self.workers * self._chunk_words

    @property
    def gather_bytes(self) -> int:
        """Payload of the second message."""
        return self._chunk_words * 4

    def encode(self, flat: torch.Tensor, slot_number: int = 0) -> torch.Tensor:
        """Return int32 [N, chunk words]: row k goes to rank k. In warm-up steps an fp32 message to be summed.

        Mutates residual, steps and the slot. The next steps follow this rank's own magnitudes.
        """
        slot = self._slots[slot_number]
        if self.start(flat, slot):
            assert slot.fp32 is not None
            return slot.fp32
        finite = torch.isfinite(self._sum_squares)
        codes = torch.where(finite, slot.index, NONFINITE_CODE).to(torch.uint8)
        target = self.scale.target_index(self._sum_squares, slot.steps)
        self.scale.index.copy_(torch.where(finite & (self._sum_squares > 0), target, slot.index))
        for chunk, message in enumerate(slot.words.view(self.workers, -1)):
            rows = slice(chunk * self._chunk_rows, (chunk + 1) * self._chunk_rows)
            self._write_chunk(self._digits[rows], codes[self._segment_tensors[chunk]], message)
        return slot.words.view(self.workers, -1)

    def _make_digits(self, flat: torch.Tensor, slot: Slot) -> None:
        self._quantize_rows(self._kernels.quantize, slice(None), flat, slot, self._digits)

    def reduce(self, received: torch.Tensor) -> torch.Tensor:
        """Average this rank's chunk over the messages of all ranks, int32 [N, chunk words], and requantize it.

        Returns the message to gather, int32 [chunk words]. Mutates `received` and the second residual.
        """
        received = received.view(self.workers, -1)
        segments = self._segment_rows[self.rank]
        finite = torch.ones(len(self._segment_tensors[self.rank]), dtype=torch.bool, device=self.device)
        self._average.zero_()
        for message in received:
            codes = self._read_chunk(message, self.rank, self._decoded, 1.0 / self.workers)
            finite &= codes != NONFINITE_CODE
            self._average.add_(self._decoded)
        total = self._average + self.reduce_residual
        squares = torch.zeros(finite.numel(), dtype=torch.float64, device=self.device)
        squares.index_add_(0, segments, total.double().square().sum(1))
        finite &= torch.isfinite(squares)
        index = self.scale.absolute_target(squares / self._segment_numels)
        steps = self._step_table[index].float()
        torch.index_select(steps, 0, segments, out=self._chunk_steps)
        torch.reciprocal(self._chunk_steps, out=self._chunk_inverse)
        self._requantize()
        codes = torch.where(finite, index, NONFINITE_CODE).to(torch.uint8)
        self._write_chunk(self._chunk_digits, codes, self._gather_words)
        return self._gather_words

    def decode(self, message: torch.Tensor, out: torch.Tensor, slot_number: int = 0) -> None:
        """Write the average to `out` fp32 [rows, 128] from the gathered messages int32 [N, chunk words].

        In warm-up steps the message is the summed fp32 one. Mutates the message and `self.status`.
        """
        slot = self._slots[slot_number]
        if slot.fp32 is not None:
            self._decode_fp32(message, out)
            slot.fp32 = None
            return
        bad = torch.zeros_like(self.status)
        parts = zip(message.view(self.workers, -1), out.view(self.workers, -1, self.layout.row), strict=True)
        for chunk, (words, part) in enumerate(parts):
            codes = self._read_chunk(words, chunk, part, 1.0)
            bad.index_add_(0, self._segment_tensors[chunk], (codes == NONFINITE_CODE).to(torch.int32))
        self.status.copy_((bad > 0) * scales.NONFINITE)

    def take_loss(self) -> torch.Tensor:
        """Return both residuals and forget them; the second one counts once for every worker in the average."""
        loss = super().take_loss()
        loss.view(self.workers, -1, self.layout.row)[self.rank].add_(self.reduce_residual, alpha=self.workers)
        self.reduce_residual.zero_()
        return loss

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """State by tensor name, with what this rank's chunk holds of the second residual (zero elsewhere)."""
        state = super().state_dict()
        whole = torch.zeros_like(self.residual)
        whole.view(self.workers, -1, self.layout.row)[self.rank] = self.reduce_residual
        for slot in self.layout.slots:
            state[slot.name]["reduce_residual"] = self.layout.view(whole, slot).clone()
        return state

    def load_state(self, tensors: dict[str, dict[str, Any]]) -> None:
        """Take over the state of every tensor of the bucket; the caller has checked names and shapes."""
        super().load_state(tensors)
        whole = torch.zeros_like(self.residual)
        for slot in self.layout.slots:
            self.layout.view(whole, slot).copy_(tensors[slot.name]["reduce_residual"])
        self.reduce_residual.copy_(whole.view(self.workers, -1, self.layout.row)[self.rank])

    def _max_segments(self) -> int:
        owners = self.layout.row_owners(torch.device("cpu")).view(self.workers, -1)
        return max(int(chunk.unique().numel()) for chunk in owners)

    def _init_segments(self) -> None:
        owners = self._row_owners.view(self.workers, -1)
        found = [chunk.unique(return_inverse=True) for chunk in owners]
        self._segment_tensors = [tensors for tensors, _ in found]
        self._segment_rows = [rows for _, rows in found]
        # Values (padding not counted) of this rank's segments: the mean square divides by it.
        real = torch.zeros(self.layout.num_values, dtype=torch.float64, device=self.device)
        for slot in self.layout.slots:
            real[slot.first_row * self.layout.row : slot.first_row * self.layout.row + slot.numel] = 1.0
        per_row = real.view(self.workers, -1, self.layout.row)[self.rank].sum(1)
        self._segment_numels = torch.zeros(len(self._segment_tensors[self.rank]), dtype=torch.float64)
        self._segment_numels = self._segment_numels.to(self.device).index_add_(
            0, self._segment_rows[self.rank], per_row
        )
        self._segment_numels.clamp_(min=1.0)

    def _write_chunk(self, digits: torch.Tensor, codes: torch.Tensor, message: torch.Tensor) -> None:
        self._pack(digits, message[: self._digit_words])
        message[self._digit_words :].view(torch.uint8)[: codes.numel()].copy_(codes)

    def _read_chunk(
        self, message: torch.Tensor, chunk: int, out: torch.Tensor, factor: float
    ) -> torch.Tensor:
        """Decode a message about `chunk` into `out` [chunk rows, 128], times `factor`; return its step codes."""
        num_segments = self._segment_tensors[chunk].numel()
        codes = message[self._digit_words :].view(torch.uint8)[:num_segments].long()
        steps = self._step_table[codes.clamp(max=scales.NUM_STEPS - 1)].float() * factor
        steps.masked_fill_(codes == NONFINITE_CODE, 0.0)
        scale = torch.index_select(steps, 0, self._segment_rows[chunk])
        self._unpack(message[: self._digit_words], scale, out)
        return codes

    @torch.no_grad()
    def _requantize(self) -> None:
        self._kernels.quantize(
            self._average,
            self.reduce_residual,
            self._chunk_inverse,
            self._chunk_steps,
            self._limit,
            self._bound,
            self._digit_units,
            self._chunk_digits,
            self._chunk_statistic,
            *self._reduce_keys,
        )
        if not self.config.error_feedback:
            self.reduce_residual.zero_()
