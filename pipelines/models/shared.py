"""Feature maps of a dense block kept once, in one matrix that every layer appends to and reads.

Rows are channels and columns are the pixels of all images: the maps of the first c channels are a view, a 1x1
convolution is a matrix product, and a range of channels is discarded by not touching its rows. Nothing that a
reader computes from the maps is kept; its backward pass recomputes the activations. So memory grows linearly
with depth (the aim of Pleiss et al. 2017, arXiv:1707.06990). As everything is done in tiles that fit the cache,
this is also the faster way on a CPU, where each layer otherwise streams the block from memory a dozen times.

Autograd sees only tokens. The gradient of the maps is a second matrix, to which readers add in their backward
pass; through the tokens autograd runs all later readers before an append takes its rows of that gradient.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pipelines.models.reader import Reader, Workspace
from pipelines.models.reuse import Kept

# Activations of a tile should stay in a core's second-level cache, 1 to 2 MiB on present server processors.
TILE_BYTES = 2 * 2**20


class Memory:
    """The matrix of maps [channels, images * pixels] and that of their gradient, allocated when first needed."""

    def __init__(self, num_channels: int, like: Tensor) -> None:
        self.num_images, _, self.height, self.width = like.shape
        # The maps have many readers: in bfloat16 their gradient would be rounded once per reader.
        dtype = torch.promote_types(like.dtype, torch.float32)
        num_columns = self.num_images * self.height * self.width
        self.maps = torch.empty(num_channels, num_columns, dtype=dtype, device=like.device)
        self.workspace = Workspace()
        self._gradient: Tensor | None = None

    @property
    def gradient(self) -> Tensor:
        """The gradient of the maps, as far as readers have added to it."""
        if self._gradient is None:
            self._gradient = torch.zeros_like(self.maps)
        return self._gradient

    def set_gradient(self, gradient: Tensor | None) -> None:
        """Replace the gradient; None frees it, at the end of a backward pass."""
        self._gradient = gradient

    def as_images(self, rows: Tensor) -> Tensor:
        """View rows [c, b * h * w] as [b, c, h, w]."""
        return rows.view(rows.shape[0], -1, self.height, self.width).transpose(0, 1)

    def as_rows(self, images: Tensor) -> Tensor:
        """Return [b, c, h, w] as rows [c, b * h * w], a copy where no view is possible."""
        return images.transpose(0, 1).reshape(images.shape[1], -1)

    def tiles(self, num_channels: int) -> Iterator[slice]:
        """Cut the images into runs whose `num_channels` maps fill a tile; on a GPU there is one tile."""
        size = self.num_images
        if self.maps.device.type == "cpu":
            image_bytes = num_channels * self.height * self.width * self.maps.element_size()
            size = min(size, max(1, TILE_BYTES // image_bytes))
        for start in range(0, self.num_images, size):
            yield slice(start, min(start + size, self.num_images))

    def columns(self, images: slice) -> slice:
        """Return the columns of a run of images."""
        num_pixels = self.height * self.width
        return slice(images.start * num_pixels, images.stop * num_pixels)


class SharedFeatures:
    """Features in shared memory, for one forward pass over `num_channels` maps in the end; see the module."""

    def __init__(self, num_channels: int) -> None:
        self._num_channels = num_channels
        self._num_filled = 0
        self._memory: Memory | None = None
        self._token = torch.zeros((), requires_grad=True)

    def append(self, maps: Tensor, norm: nn.BatchNorm2d) -> None:
        """See Features."""
        if self._memory is None:
            self._memory = Memory(self._num_channels, maps)
        rows = slice(self._num_filled, self._num_filled + maps.shape[1])
        self._num_filled = rows.stop
        self._token = _Append.apply(  # type: ignore[no-untyped-call]
            self._token, maps, self._memory, rows, norm
        )

    def read(self, scale: Tensor, shift: Tensor, weight: Tensor, kept: Kept | None) -> Tensor:
        """See Features."""
        if kept is None:
            kept = Kept((range(self._num_filled),), 1.0)
        arguments = (self._token, scale, shift, weight, self._memory, kept)
        return _Read.apply(*arguments)  # type: ignore[no-any-return, no-untyped-call]

    def activate(self, scale: Tensor, shift: Tensor) -> Tensor:
        """See Features."""
        maps = _Expose.apply(self._token, self._memory)  # type: ignore[no-untyped-call]
        return torch.addcmul(shift[:, None, None], maps, scale[:, None, None]).relu()


class _Append(torch.autograd.Function):
    """Normalise maps into their rows; the backward pass takes those rows of the gradient."""

    @staticmethod
    def forward(
        ctx: Any, token: Tensor, maps: Tensor, memory: Memory, rows: slice, norm: nn.BatchNorm2d
    ) -> Tensor:
        mean, inverse = _statistics(maps, norm)
        target = memory.as_images(memory.maps[rows])
        per_map = (-1, 1, 1)
        torch.addcmul((-mean * inverse).view(per_map), maps, inverse.view(per_map), out=target)
        ctx.memory, ctx.rows, ctx.training = memory, rows, norm.training
        ctx.inverse, ctx.dtype = inverse, maps.dtype
        return token.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, token: Tensor) -> Any:
        memory: Memory = ctx.memory
        gradient = memory.gradient[ctx.rows]
        if ctx.training:
            # Ioffe and Szegedy 2015: mean and variance depend on the maps as well.
            maps = memory.maps[ctx.rows]
            slope = (gradient * maps).mean(1, keepdim=True)
            gradient = torch.addcmul(gradient - gradient.mean(1, keepdim=True), maps, slope, value=-1)
        result = memory.as_images(gradient * ctx.inverse[:, None]).to(ctx.dtype)
        if ctx.rows.start == 0:
            memory.set_gradient(None)
        return token, result.contiguous(), None, None, None


def _statistics(maps: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return mean and reciprocal standard deviation [c] that `norm` applies; in training it takes note of them."""
    running_mean, running_var, momentum = norm.running_mean, norm.running_var, norm.momentum
    assert running_mean is not None
    assert running_var is not None
    assert momentum is not None
    if not norm.training:
        return running_mean, torch.rsqrt(running_var + norm.eps)
    dtype = torch.promote_types(maps.dtype, torch.float32)
    variance, mean = torch.var_mean(maps.to(dtype), (0, 2, 3), correction=0)
    count = maps.numel() // maps.shape[1]
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    running_mean.lerp_(mean.to(running_mean.dtype), momentum)
    # As in torch, the running variance is the unbiased one.
    running_var.lerp_((variance * (count / max(1, count - 1))).to(running_var.dtype), momentum)
    return mean, torch.rsqrt(variance + norm.eps)


class _Read(torch.autograd.Function):
    """Convolution of activated maps, tile by tile; the backward pass recomputes the activations."""

    @staticmethod
    def forward(
        ctx: Any, _token: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, memory: Memory, kept: Kept
    ) -> Tensor:
        reader = Reader(scale, shift, weight, kept, _compute_dtype(memory.maps), memory.workspace)
        output = reader.new_output(memory.num_images, memory.height, memory.width)
        for images in memory.tiles(reader.num_channels):
            reader.convolve(memory.maps[:, memory.columns(images)], output[images])
        ctx.memory, ctx.kept = memory, kept
        ctx.save_for_backward(scale, shift, weight)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        memory: Memory = ctx.memory
        scale, shift, weight = ctx.saved_tensors
        reader = Reader(scale, shift, weight, ctx.kept, gradient.dtype, memory.workspace)
        for images in memory.tiles(reader.num_channels):
            columns = memory.columns(images)
            reader.differentiate(memory.maps[:, columns], memory.gradient[:, columns], gradient[images])
        return gradient.new_zeros((), dtype=torch.float32, device="cpu"), *reader.gradients(), None, None


def _compute_dtype(maps: Tensor) -> torch.dtype:
    """Return the precision of convolutions: that of an autocast context, else that of the maps."""
    kind = maps.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else maps.dtype


class _Expose(torch.autograd.Function):
    """All maps as an ordinary tensor [b, c, h, w], for the one reader after the last layer."""

    @staticmethod
    def forward(ctx: Any, _token: Tensor, memory: Memory) -> Tensor:
        ctx.memory = memory
        return memory.as_images(memory.maps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        memory: Memory = ctx.memory
        rows = memory.as_rows(gradient.to(memory.maps.dtype))
        # Readers add to it: it must be ours alone.
        memory.set_gradient(rows.clone() if rows.data_ptr() == gradient.data_ptr() else rows.contiguous())
        return torch.zeros(()), None
