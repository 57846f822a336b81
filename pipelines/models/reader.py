"""One layer's reading of shared feature maps: scale, shift, ReLU and convolution of a tile, and their gradients."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.models.reuse import Kept

# A full tile of float32 (see TILE_BYTES in `shared`), so that readers of growing width share one buffer.
MIN_ELEMENTS = 2**19


class Workspace:
    """Memory for the intermediate results of one tile after another.

    Fresh tensors of this size would often come from the operating system, page by page.
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.dtype], Tensor] = {}

    def get(self, use: str, shape: tuple[int, int], like: Tensor) -> Tensor:
        """Return a tensor with the dtype and device of `like`; what the last one of this `use` held is lost."""
        key, size = (use, like.dtype), math.prod(shape)
        buffer = self._buffers.get(key)
        if buffer is None or buffer.numel() < size:
            buffer = self._buffers[key] = like.new_empty(max(size, MIN_ELEMENTS))
        return buffer[:size].view(shape)


class Reader:
    """Parameters of one reader for the maps that it keeps, and the sums of their gradients over the tiles.

    `scale`, `shift` [c] and `weight` [out, c, kernel, kernel] are those of all maps and are not changed;
    convolutions compute in `dtype`, everything else in the maps' own. A tile is a matrix [c, t * h * w] of t
    images.
    """

    def __init__(
        self,
        scale: Tensor,
        shift: Tensor,
        weight: Tensor,
        kept: Kept,
        dtype: torch.dtype,
        workspace: Workspace,
    ) -> None:
        self._workspace = workspace
        self._kept = kept
        self._full = (scale, shift, weight)
        self._scale = self._pick(scale, 0)[:, None]
        self._shift = self._pick(shift, 0)[:, None]
        self._weight = (self._pick(weight, 1) * kept.factor).to(dtype)
        self.num_channels = self._scale.shape[0]
        self._sums: tuple[Tensor, Tensor, Tensor] | None = None

    def _pick(self, tensor: Tensor, dim: int) -> Tensor:
        """Return the entries of the kept maps along `dim`."""
        parts = [tensor.narrow(dim, run.start, len(run)) for run in self._kept.runs]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim)

    def new_output(self, num_images: int, height: int, width: int) -> Tensor:
        """Return an empty tensor [b, out, h, w] for the result of all tiles, channels last in memory."""
        shape = (num_images, self._weight.shape[0], height, width)
        # A product of matrices writes it without a copy, and the 3x3 convolution that follows is faster on it.
        return torch.empty(
            shape,
            dtype=self._weight.dtype,
            device=self._weight.device,
            memory_format=torch.channels_last,
        )

    def convolve(self, maps: Tensor, output: Tensor) -> None:
        """Write the convolution of a tile's activated maps to `output` [t, out, h, w], a part of `new_output`."""
        active = self._activate(maps).to(self._weight.dtype)
        num_images, num_outputs, height, width = output.shape
        if self._weight.shape[-1] == 1:
            pixels = output.permute(0, 2, 3, 1).view(-1, num_outputs)
            torch.mm(active.t(), self._weight.flatten(1).t(), out=pixels)
        else:
            images = active.view(-1, num_images, height, width).transpose(0, 1)
            output.copy_(functional.conv2d(images, self._weight, padding=self._weight.shape[-1] // 2))

    def _activate(self, maps: Tensor) -> Tensor:
        """Return relu(scale * maps + shift) of the kept maps, [n, t * h * w]."""
        active = self._workspace.get("active", (self.num_channels, maps.shape[1]), maps)
        # torch vectorizes neither addcmul with two broadcast operands nor out of place: 0.31 against 0.42 ms
        # for 120 x 4096 values on one core.
        active.copy_(self._shift)
        for run, own in self._runs():
            active[own].addcmul_(maps[run], self._scale[own])
        return active.relu_()

    def _runs(self) -> list[tuple[slice, slice]]:
        """Return for each run of kept maps its rows among all maps and among the kept ones."""
        pairs, start = [], 0
        for run in self._kept.runs:
            pairs.append((slice(run.start, run.stop), slice(start, start + len(run))))
            start += len(run)
        return pairs

    def differentiate(self, maps: Tensor, maps_gradient: Tensor, gradient: Tensor) -> None:
        """Add a tile's gradients, given that of its output [t, out, h, w], to `maps_gradient` and to the sums."""
        active = self._activate(maps)
        if self._sums is None:
            self._sums = (
                torch.zeros_like(self._scale[:, 0]),
                torch.zeros_like(self._shift[:, 0]),
                torch.zeros_like(self._weight, dtype=maps.dtype),
            )
        scale_sum, shift_sum, weight_sum = self._sums
        slope = self._differentiate_convolution(active, gradient, weight_sum)
        torch.ops.aten.threshold_backward.grad_input(slope, active, 0, grad_input=slope)
        shift_sum += slope.sum(1)
        for run, own in self._runs():
            maps_gradient[run].addcmul_(slope[own], self._scale[own])
            torch.mul(slope[own], maps[run], out=active[own])
        scale_sum += active.sum(1)

    def _differentiate_convolution(self, active: Tensor, gradient: Tensor, weight_sum: Tensor) -> Tensor:
        """Add to the weights' gradient and return that of the activations, [n, t * h * w]."""
        num_images, num_outputs, height, width = gradient.shape
        weight = self._weight
        if weight.shape[-1] == 1:
            rows = gradient.permute(0, 2, 3, 1).reshape(-1, num_outputs).t()
            weight_sum += torch.mm(rows, active.to(weight.dtype).t()).view_as(weight)
            slope = self._workspace.get("slope", (self.num_channels, rows.shape[1]), rows)
            return torch.mm(weight.flatten(1).t(), rows, out=slope).to(active.dtype)
        images = active.view(-1, num_images, height, width).transpose(0, 1).to(weight.dtype)
        half = weight.shape[-1] // 2
        slope, weight_part, _ = torch.ops.aten.convolution_backward(
            gradient,
            images,
            weight,
            None,
            [1, 1],
            [half, half],
            [1, 1],
            False,
            [0, 0],
            1,
            [True, True, False],
        )
        weight_sum += weight_part
        return slope.transpose(0, 1).reshape(active.shape).to(active.dtype)  # type: ignore[no-any-return]

    def gradients(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of scale, shift and weight of all maps; zero for maps that are not kept."""
        assert self._sums is not None
        scale_sum, shift_sum, weight_sum = self._sums
        weight_sum *= self._kept.factor
        scale, shift, weight = self._full
        return (
            self._spread(scale_sum, scale, 0),
            self._spread(shift_sum, shift, 0),
            self._spread(weight_sum, weight, 1),
        )

    def _spread(self, part: Tensor, like: Tensor, dim: int) -> Tensor:
        """Return zeros like `like` with `part` in the places of the kept maps along `dim`."""
        if part.shape == like.shape:
            return part
        full = torch.zeros_like(like)
        for run, own in self._runs():
            size = run.stop - run.start
            full.narrow(dim, run.start, size).copy_(part.narrow(dim, own.start, size))
        return full
