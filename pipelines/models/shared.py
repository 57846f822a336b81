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
        """Return [b, c, h, w] as contiguous rows [c, b * h * w]; a view only where it already is that in memory."""
        return images.transpose(0, 1).reshape(images.shape[1], -1).contiguous()

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
    """Features in shared memory, for one forward pass over `num_channels` maps in the end; see the module.

    Without `needs_gradient`, where the block and all before it are frozen, the backward pass ends at the readers
    outside the block.
    """

    def __init__(self, num_channels: int, *, needs_gradient: bool) -> None:
        self._num_channels = num_channels
        self._num_filled = 0
        self._memory: Memory | None = None
        self._token = torch.zeros((), requires_grad=needs_gradient)

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


def _momentum_of(norm: nn.BatchNorm2d) -> float:
    """Return the weight of this batch in the running statistics; momentum None: their mean, as in nn.BatchNorm2d."""
    if norm.momentum is not None:
        return norm.momentum
    tracked = norm.num_batches_tracked
    return 1.0 / float(tracked) if norm.training and tracked is not None else 0.0


class _Append(torch.autograd.Function):
    """Normalise maps into their rows; the backward pass takes those rows of the gradient."""

    @staticmethod
    def forward(
        ctx: Any, token: Tensor, maps: Tensor, memory: Memory, rows: slice, norm: nn.BatchNorm2d
    ) -> Tensor:
        raw = memory.as_rows(maps.to(memory.maps.dtype))[None]
        target = memory.maps[rows][None]
        running = (norm.running_mean, norm.running_var)
        if norm.training and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        # torch's kernel takes the rows as one image: several times faster than var_mean over [b, c, h, w].
        results = (target, target.new_empty(0), target.new_empty(0))
        _, _, inverse = torch.native_batch_norm(
            raw, None, None, *running, norm.training, _momentum_of(norm), norm.eps, out=results
        )
        if not norm.training:
            assert norm.running_var is not None
            inverse = torch.rsqrt(norm.running_var + norm.eps)
        ctx.memory, ctx.rows, ctx.training = memory, rows, norm.training
        ctx.inverse, ctx.dtype = inverse, maps.dtype
        return token.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, token: Tensor) -> Any:
        memory: Memory = ctx.memory
        gradient, inverse = memory.gradient[ctx.rows], ctx.inverse
        if ctx.training:
            # The maps are normalised already: to torch's kernel they are an input with mean 0 and deviation 1,
            # and the reciprocal of the true deviation is a weight.
            zero, one = torch.zeros_like(inverse), torch.ones_like(inverse)
            maps = memory.maps[ctx.rows][None]
            result, _, _ = torch.ops.aten.native_batch_norm_backward(
                gradient[None], maps, inverse, None, None, zero, one, True, 0.0, [True, False, False]
            )
            rows = result[0]
        else:
            rows = gradient * inverse[:, None]
        if ctx.rows.start == 0:
            memory.set_gradient(None)
        images = memory.as_images(rows).to(ctx.dtype)
        return token, images.contiguous(memory_format=torch.channels_last), None, None, None


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
        memory.set_gradient(rows.clone() if rows.data_ptr() == gradient.data_ptr() else rows)
        return torch.zeros(()), None
