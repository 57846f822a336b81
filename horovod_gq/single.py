"""One gradient that travels by itself through Horovod's stock optimizer: a codec and a sum of its own."""

from __future__ import annotations

from typing import Any

import torch

from horovod_gq import scale as scales
from horovod_gq.buckets import Form, form_of
from horovod_gq.codec import BucketCodec
from horovod_gq.config import UNCOMPRESSED, GQConfig
from horovod_gq.layout import BucketLayout
from horovod_gq.packing import num_planes, num_words
from horovod_gq.timing import Timings


def wire_dtype(dtype: torch.dtype) -> torch.dtype:
    """Type in which an uncompressed tensor travels: Horovod cannot sum bfloat16."""
    return torch.float32 if dtype == torch.bfloat16 else dtype


class Staging:
    """One buffer for all gradients that are no rows by themselves; encoding copies out of it."""

    def __init__(self) -> None:
        self._buffer: torch.Tensor | None = None

    def as_rows(self, layout: BucketLayout, gradient: torch.Tensor) -> torch.Tensor:
        """View a gradient as padded fp32 rows [rows, row]; copies where a view is impossible."""
        num_values = layout.num_values
        if gradient.numel() == num_values and gradient.dtype == torch.float32 and gradient.is_contiguous():
            return gradient.view(-1, layout.row)
        if (
            self._buffer is None
            or self._buffer.numel() < num_values
            or self._buffer.device != gradient.device
        ):
            self._buffer = torch.empty(num_values, device=gradient.device)
        rows = self._buffer[:num_values]
        rows[: gradient.numel()].view(gradient.shape).copy_(gradient)
        rows[gradient.numel() :].zero_()
        return rows.view(-1, layout.row)


class SingleTensor:
    """What GQ keeps for one parameter without a bucket; one message may be in flight.

    Args:
        name: of the parameter.
        parameter: whose gradient travels; any floating type.
        config: settings of GQ.
        rank: this rank.
        workers: number of ranks.
        staging: buffer shared by all tensors.
        timings: adds up encoding and decoding.
    """

    def __init__(
        self,
        name: str,
        parameter: torch.nn.Parameter,
        config: GQConfig,
        *,
        rank: int,
        workers: int,
        staging: Staging,
        timings: Timings,
    ) -> None:
        self.name, self.parameter = name, parameter
        self._config, self._workers, self._staging, self._timings = config, workers, staging, timings
        self.codec: BucketCodec | None = None
        form = form_of(name, tuple(parameter.shape), config)
        if form.wire_bits != UNCOMPRESSED:
            layout = layout_of(name, tuple(parameter.shape), form, config, workers)
            self.codec = BucketCodec(
                layout, config, form.wire_bits, workers=workers, rank=rank, device=parameter.device
            )
        self.greeted = False
        """Whether an uncompressed tensor has sent its canary (with its first message)."""
        self._with_canary = False
        self._averaged: torch.Tensor | None = None
        self._dtype, self._shape = parameter.dtype, parameter.shape

    @torch.no_grad()
    def compress(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return the message: int32, fp32 in warm-up steps, or the gradient where it travels uncompressed."""
        with self._timings.encoding(gradient.device):
            return self._encode(gradient)

    def _encode(self, gradient: torch.Tensor) -> torch.Tensor:
        self._dtype, self._shape = gradient.dtype, gradient.shape
        if self.codec is not None:
            return self.codec.encode(self._staging.as_rows(self.codec.layout, gradient))
        if self.greeted:
            return gradient.to(wire_dtype(gradient.dtype))
        self.greeted = self._with_canary = True
        digest = self._config.digest(self._workers, self.name, tuple(gradient.shape))
        canary = scales.settings_canary(digest).to(gradient.device)
        return torch.cat([gradient.reshape(-1).float(), canary])

    @torch.no_grad()
    def decompress(self, message: torch.Tensor) -> torch.Tensor:
        """Return the average from the summed message; of a quantized tensor a view that the next step overwrites."""
        with self._timings.decoding(message.device):
            return self._decode(message)

    def _decode(self, message: torch.Tensor) -> torch.Tensor:
        if self.codec is None:
            self._averaged = self._receive_plain(message)
            return self._averaged
        if self._averaged is None:
            self._averaged = torch.empty_like(self.codec.residual)
        self.codec.decode(message, self._averaged)
        flat = self._averaged.view(-1)[: self._shape.numel()]
        return flat.view(self._shape).to(self._dtype)

    def failures(self) -> list[str]:
        """Return the name where the average is not finite; makes it NaN then and forgets the residual."""
        assert self._averaged is not None
        if self.codec is None:
            return [] if bool(torch.isfinite(self._averaged).all()) else [self.name]
        names = self.codec.check_status()
        for name in names:
            self.codec.drop_residual(name)
            self._averaged.fill_(float("nan"))
        return names

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """State by tensor name; empty where the tensor travels uncompressed."""
        return {} if self.codec is None else self.codec.state_dict()

    def load_state(self, tensors: dict[str, dict[str, Any]]) -> None:
        """Take over a state that has been checked."""
        self.greeted = bool(tensors)
        if self.codec is not None and self.name in tensors:
            self.codec.load_state(tensors)

    def _receive_plain(self, message: torch.Tensor) -> torch.Tensor:
        if self._with_canary:
            self._with_canary = False
            scales.check_canary(message[-scales.CANARY_SIZE :], self._workers, f"gradient of {self.name}")
            message = message[: -scales.CANARY_SIZE].view(self._shape)
        return message.div(self._workers).to(self._dtype)


def layout_of(name: str, shape: tuple[int, ...], form: Form, config: GQConfig, workers: int) -> BucketLayout:
    """Layout of a tensor that has a message of its own."""
    return BucketLayout([(name, shape)], num_planes(form.wire_bits, workers), form.row, config.scale_group)


def single_bytes(name: str, parameter: torch.nn.Parameter, config: GQConfig, workers: int) -> int:
    """Bytes of a tensor's own message in the steady state, header and padding included."""
    form = form_of(name, tuple(parameter.shape), config)
    if form.wire_bits == UNCOMPRESSED:
        return parameter.numel() * wire_dtype(parameter.dtype).itemsize
    layout = layout_of(name, tuple(parameter.shape), form, config, workers)
    header = layout.num_units * scales.header_words(form.wire_bits)
    return 4 * (header + num_words(layout.num_values, form.wire_bits, workers))
