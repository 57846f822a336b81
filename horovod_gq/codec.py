"""Messages that are summed: `exchange="allreduce"`."""

from __future__ import annotations

from typing import Any

import torch

from horovod_gq import scale as scales
from horovod_gq.packing import digit_dtype, num_words, whole_vectors
from horovod_gq.quantizer import Quantizer, Slot, unviewed


class BucketCodec(Quantizer):
    """Turns flat gradients [rows, 128] into messages that can be summed, and the sum into the average.

    In the steady state a message is int32 [headers of all units, packed digits]; a unit is what has one scale.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.wire_bits != 16:
            dtype = digit_dtype(self.wire_bits)
            self._digits = torch.zeros(self.layout.num_rows, self.layout.row, dtype=dtype, device=self.device)

    @property
    def _header_size(self) -> int:
        return self.layout.num_units * scales.header_words(self.wire_bits)

    def num_message_words(self) -> int:
        """Int32 words of the message that `encode` returns in the steady state."""
        return self._header_size + num_words(self.layout.num_values, self.wire_bits, self.workers)

    def encode(self, flat: torch.Tensor, slot_number: int = 0) -> torch.Tensor:
        """Return the message of this rank's gradients `flat` fp32 [rows, 128] (padding must be zero).

        Mutates the residual and the buffers of the slot, of which the message is one; sum it in place.
        """
        slot = self._slots[slot_number]
        if self.start(flat, slot):
            assert slot.fp32 is not None
            return slot.fp32
        if self.wire_bits != 16:
            self._pack(self._digits, slot.words[self._header_size :])
        header = slot.words[: self._header_size].view(self.layout.num_units, -1)
        self.scale.write_header(self._sum_squares, slot.steps, slot.index, header)
        return slot.words

    def _make_digits(self, flat: torch.Tensor, slot: Slot) -> None:
        if self.wire_bits != 16:
            self._quantize_rows(self._kernels.quantize, slice(None), flat, slot, self._digits)
            return
        # Two digits a word: the second half of the bucket goes on top of the first, in the message itself.
        words = unviewed(slot.words[self._header_size :].view(-1, self.layout.row))
        half = self.layout.num_rows // 2
        self._quantize_rows(self._kernels.quantize, slice(half), flat, slot, words)
        self._quantize_rows(self._kernels.quantize_onto, slice(half, None), flat, slot, whole_vectors(words))

    def decode(self, message: torch.Tensor, out: torch.Tensor, slot_number: int = 0) -> None:
        """Write the average over the ranks to `out` fp32 [rows, 128] from the summed message.

        Mutates the message, the shared scale and `self.status`. With a non-finite tensor on any rank, `out` of
        that tensor is meaningless and the caller acts on the status.
        """
        slot = self._slots[slot_number]
        if slot.fp32 is not None:
            self._decode_fp32(message, out)
            slot.fp32 = None
            return
        header = message[: self._header_size].view(self.layout.num_units, -1)
        self.scale.read_header(header, slot.index, self.status)
        torch.mul(slot.row_steps, 1.0 / self.workers, out=self._row_scale)
        self._unpack(message[self._header_size :], self._row_scale, out)
