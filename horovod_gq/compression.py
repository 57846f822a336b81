"""GQ as `compression=` of the stock `hvd.DistributedOptimizer`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from horovod_gq import scale as scales
from horovod_gq.backend import horovod_world
from horovod_gq.codec import BucketCodec
from horovod_gq.config import UNCOMPRESSED, WIRE_WIDTHS, GQConfig, num_levels
from horovod_gq.kernels import num_planes
from horovod_gq.layout import ROW, BucketLayout
from horovod_gq.state import check_config, check_tensors
from horovod_gq.timing import Timings


class NonFiniteGradientError(ValueError):
    """A gradient is inf or NaN on some rank; raised on every rank before the optimizer step."""

    def __init__(self, names: Iterable[str]) -> None:
        listed = ", ".join(names)
        super().__init__(
            f"gradient of {listed} is not finite on at least one rank; lower the learning rate, or with a grad "
            'scaler set nonfinite="propagate"'
        )


def wire_dtype(dtype: torch.dtype) -> torch.dtype:
    """Type in which an uncompressed tensor travels: Horovod cannot sum bfloat16."""
    return torch.float32 if dtype == torch.bfloat16 else dtype


@dataclass
class BoundTensor:
    """What GQ keeps for one parameter; `codec` is None where the tensor travels uncompressed."""

    name: str
    parameter: torch.nn.Parameter
    wire_bits: int
    codec: BucketCodec | None = None
    averaged: torch.Tensor | None = None
    """fp32 [rows, 128]: the decoded gradient, which `p.grad` becomes a view of."""
    greeted: bool = False
    """Whether an uncompressed tensor has sent its canary (with its first message)."""


@dataclass
class Context:
    """What `compress` hands to `decompress`."""

    tensor: BoundTensor
    shape: torch.Size
    dtype: torch.dtype
    with_canary: bool = False


class GQ:
    """Gradient quantization for `hvd.DistributedOptimizer(..., compression=GQ(...).bind(model), op=hvd.Sum)`.

    Pass `op=hvd.Sum`: `decompress` divides by the number of workers. Every other reduction is detected at the
    first step. Create one instance per optimizer, with equal settings on all ranks.

    Args:
        config: all settings; or give its fields as keywords, `GQ(wire_bits=4)`.
        workers: number of ranks; None asks Horovod at the first gradient.
        fields: see `GQConfig`.

    Raises:
        ValueError: a setting is out of range, or the width cannot carry `workers`.
    """

    def __init__(self, config: GQConfig | None = None, *, workers: int | None = None, **fields: Any) -> None:
        self.config = config if config is not None else GQConfig(**fields)
        if config is not None and fields:
            raise ValueError(f"give either config or its fields, not both: {', '.join(sorted(fields))}")
        if self.config.exchange != "allreduce":
            raise ValueError(
                f"exchange={self.config.exchange!r} needs more than the one sum that hvd.DistributedOptimizer makes;"
                ' use horovod_gq.DistributedOptimizer, or exchange="allreduce"'
            )
        self.timings = Timings()
        self._tensors: list[BoundTensor] = []
        self._next = 0
        self._pending = 0
        self._suspects: list[tuple[BoundTensor, torch.Tensor | None]] = []
        self._staging: torch.Tensor | None = None
        self._loaded: dict[str, dict[str, Any]] = {}
        self._world: tuple[int, int] | None = None
        if workers is not None:
            self._check_widths(workers)
        self._workers = workers

    def bind(self, parameters: torch.nn.Module | Iterable[tuple[str, torch.nn.Parameter]]) -> GQ:
        """Learn the names of the parameters (a module, or (name, parameter) pairs); return self.

        Raises:
            ValueError: two parameters share a name, or none is given.
        """
        pairs = parameters.named_parameters() if isinstance(parameters, torch.nn.Module) else parameters
        self._tensors = [
            BoundTensor(name, parameter, self.config.width_of(name, tuple(parameter.shape)))
            for name, parameter in pairs
            if parameter.requires_grad
        ]
        names = [tensor.name for tensor in self._tensors]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"bind needs uniquely named trainable parameters, got {len(names)} of them")
        return self

    @property
    def workers(self) -> int:
        """Number of ranks that are summed."""
        return self._workers if self._workers is not None else self._resolve_world()[1]

    def compress(self, tensor: torch.Tensor) -> tuple[torch.Tensor, Context]:
        """Return the message for the gradient of a bound parameter, and what `decompress` needs.

        Mutates the residual of the tensor. An int32 message in the steady state; fp32 in warm-up steps; tensors
        that travel uncompressed pass through in their own dtype after the first step.

        Raises:
            ValueError: the tensor is no gradient of a bound parameter.
        """
        bound = self._find(tensor)
        self._pending += 1
        with self.timings.encoding(tensor.device), torch.no_grad():
            if bound.wire_bits == UNCOMPRESSED:
                return self._pass_through(bound, tensor)
            codec = self._codec_of(bound)
            message = codec.encode(self._as_rows(codec, tensor))
        return message, Context(bound, tensor.shape, tensor.dtype)

    def decompress(self, tensor: torch.Tensor, ctx: Context) -> torch.Tensor:
        """Return the average gradient over the ranks, in the shape and dtype of the compressed one.

        The result of a quantized tensor is a view of a buffer that the next step overwrites.

        Raises:
            ValueError: wrong reduction, or ranks with different settings.
            NonFiniteGradientError: after the last tensor of the step, when a gradient is not finite on any rank.
        """
        bound = ctx.tensor
        with self.timings.decoding(tensor.device), torch.no_grad():
            if bound.codec is None:
                averaged = self._receive_plain(bound, tensor, ctx)
                self._suspects.append((bound, averaged))
            else:
                if bound.averaged is None:
                    bound.averaged = torch.empty_like(bound.codec.residual)
                bound.codec.decode(tensor, bound.averaged)
                averaged = bound.averaged.view(-1)[: ctx.shape.numel()].view(ctx.shape).to(ctx.dtype)
                self._suspects.append((bound, None))
            self._pending -= 1
            if self._pending == 0:
                self._finish_step()
        return averaged

    def wire_bytes_per_step(self) -> int:
        """Bytes of payload that this rank hands to the collectives in a steady-state step, headers included."""
        total = 0
        for bound in self._tensors:
            if bound.wire_bits == UNCOMPRESSED:
                total += bound.parameter.numel() * wire_dtype(bound.parameter.dtype).itemsize
            else:
                layout = BucketLayout(
                    [(bound.name, tuple(bound.parameter.shape))], num_planes(bound.wire_bits)
                )
                header = scales.header_words(bound.wire_bits) * 4
                total += layout.num_values * bound.wire_bits // 8 + header
        return total

    def state_dict(self) -> dict[str, Any]:
        """Residuals and scales by parameter name, with the settings they belong to. Tensors are copies."""
        tensors: dict[str, Any] = {}
        for bound in self._tensors:
            if bound.codec is not None:
                tensors.update(bound.codec.state_dict())
        return {"config": asdict(self.config), "tensors": tensors or dict(self._loaded)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`, bit for bit. Call after `bind`, on every rank with its own state.

        Raises:
            ValueError: other settings, names or shapes than those of this instance.
        """
        check_config(state, self.config)
        expected = {
            b.name: (tuple(b.parameter.shape), b.wire_bits)
            for b in self._tensors
            if b.wire_bits != UNCOMPRESSED
        }
        check_tensors(state["tensors"], expected)
        self._loaded = dict(state["tensors"])
        for bound in self._tensors:
            bound.greeted = bool(self._loaded)
            if bound.codec is not None and bound.name in self._loaded:
                bound.codec.load_state(self._loaded)

    def _resolve_world(self) -> tuple[int, int]:
        if self._world is None:
            self._world = horovod_world()
            if self._workers not in (None, self._world[1]):
                raise ValueError(f"workers is {self._workers}, but Horovod runs {self._world[1]} workers")
            self._check_widths(self._world[1])
        return self._world

    def _check_widths(self, workers: int) -> None:
        used = {self.config.wire_bits, *(bits for _, bits in self.config.overrides)}
        for wire_bits in sorted(used & set(WIRE_WIDTHS)):
            num_levels(wire_bits, workers)

    def _find(self, gradient: torch.Tensor) -> BoundTensor:
        """Find whose gradient it is; gradients come in nearly the same order every step."""
        count = len(self._tensors)
        for offset in range(count):
            position = (self._next + offset) % count
            if self._tensors[position].parameter.grad is gradient:
                self._next = position + 1
                return self._tensors[position]
        raise ValueError(
            f"a gradient of shape {tuple(gradient.shape)} belongs to no bound parameter; call "
            "GQ(...).bind(model) with the parameters that the optimizer trains (dense gradients only)"
        )

    def _codec_of(self, bound: BoundTensor) -> BucketCodec:
        if bound.codec is None:
            rank, workers = self._resolve_world()
            layout = BucketLayout([(bound.name, tuple(bound.parameter.shape))], num_planes(bound.wire_bits))
            bound.codec = BucketCodec(
                layout,
                self.config,
                bound.wire_bits,
                workers=workers,
                rank=rank,
                device=bound.parameter.device,
            )
            if bound.name in self._loaded:
                bound.codec.load_state(self._loaded)
        return bound.codec

    def _as_rows(self, codec: BucketCodec, gradient: torch.Tensor) -> torch.Tensor:
        """View a gradient as padded fp32 rows; copies into one staging buffer where a view is impossible."""
        num_values = codec.layout.num_values
        if gradient.numel() == num_values and gradient.dtype == torch.float32 and gradient.is_contiguous():
            return gradient.view(-1, ROW)
        if (
            self._staging is None
            or self._staging.numel() < num_values
            or self._staging.device != gradient.device
        ):
            self._staging = torch.empty(num_values, device=gradient.device)
        rows = self._staging[:num_values]
        rows[: gradient.numel()].view(gradient.shape).copy_(gradient)
        rows[gradient.numel() :].zero_()
        return rows.view(-1, ROW)

    def _pass_through(self, bound: BoundTensor, gradient: torch.Tensor) -> tuple[torch.Tensor, Context]:
        if bound.greeted:
            return gradient.to(wire_dtype(gradient.dtype)), Context(bound, gradient.shape, gradient.dtype)
        bound.greeted = True
        digest = self.config.digest(self.workers, bound.name, tuple(gradient.shape))
        canary = scales.settings_canary(digest).to(gradient.device)
        message = torch.cat([gradient.reshape(-1).float(), canary])
        return message, Context(bound, gradient.shape, gradient.dtype, with_canary=True)

    def _receive_plain(self, bound: BoundTensor, message: torch.Tensor, ctx: Context) -> torch.Tensor:
        if ctx.with_canary:
            scales.check_canary(message[-scales.CANARY_SIZE :], self.workers, f"gradient of {bound.name}")
            message = message[: -scales.CANARY_SIZE].view(ctx.shape)
        return message.div(self.workers).to(ctx.dtype)

    def _finish_step(self) -> None:
        """Check all tensors of the step at once, after the last one was decoded."""
        suspects, self._suspects = self._suspects, []
        names: list[str] = []
        for bound, plain in suspects:
            if bound.codec is not None:
                bad = bound.codec.check_status()
            else:
                assert plain is not None
                bad = [] if bool(torch.isfinite(plain).all()) else [bound.name]
            names += bad
            for name in bad:
                self._spoil(bound, name)
        if names and self.config.nonfinite == "raise":
            raise NonFiniteGradientError(names)

    def _spoil(self, bound: BoundTensor, name: str) -> None:
        """Make the averaged gradient NaN on all ranks and forget the residual that the bad values entered."""
        if bound.codec is not None:
            bound.codec.drop_residual(name)
            if bound.averaged is not None:
                bound.averaged.fill_(float("nan"))
