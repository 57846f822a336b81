"""Coding an image with a trained network, and decoding it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from pipelines.codec.masks import squared_error_at
from pipelines.codec.network import NUM_BITS, STOP, STRIDE, Codec, States, binarize
from pipelines.codec.stream import Bits, CodedImage, Lengths, positions_of

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """An image after some iterations."""

    lengths: Lengths
    """[p, q]: iterations of each position so far."""
    codes: Bits
    """[t, NUM_BITS, p, q]: +1; of all iterations so far."""
    decoded: Pixels
    """[c, h, w]: what a reader of these codes sees."""

    def coded(self, weights: bytes) -> CodedImage:
        """Return what is to be written; `weights`: the digest of the network's weights."""
        channels, height, width = self.decoded.shape
        return CodedImage(
            num_channels=channels,
            height=height,
            width=width,
            weights=weights,
            lengths=self.lengths,
            codes=self.codes,
        )


@torch.inference_mode()
def stages(codec: Codec, pixels: Pixels, quality: float | None, iterations: int) -> Iterator[Stage]:
    """Yield an image uint8 [c, h, w] of any size as it is after 0, 1, 2, ... iterations, `iterations` at most.

    Args:
        codec: in evaluation mode, on the CPU.
        pixels: as many channels as the network has.
        quality: PSNR in dB that a block of STRIDE x STRIDE pixels stops at; None: no block stops.
        iterations: at most.

    Ends when all positions have stopped. Blocks that reach over the border are filled up with the pixels there.
    """
    images = _padded(codec, pixels)
    limit = None if quality is None else squared_error_at(torch.tensor(quality))
    decoded, encoder, decoder = torch.zeros_like(images), States(), States()
    rows, columns = positions_of(*pixels.shape[1:])
    active = torch.ones(1, rows, columns, dtype=torch.bool)
    lengths = np.zeros((rows, columns), dtype=np.uint8)
    planes: list[Bits] = []
    for iteration in range(iterations + 1):
        codes = np.stack(planes) if planes else np.zeros((0, NUM_BITS, rows, columns), dtype=np.bool_)
        yield Stage(lengths=lengths, codes=codes, decoded=_pixels(codec, decoded, pixels.shape))
        residual = images - decoded
        if limit is not None:
            active = active & (codec.squared_error(residual) > limit)
        if iteration == iterations or not bool(active.any()):
            return
        signs = binarize(codec.encode(residual, iteration, encoder), stochastic=False)
        signs = torch.where(active.unsqueeze(1), signs, STOP)
        decoded = decoded + codec.decode(signs, iteration, decoder)
        lengths = lengths + active[0].numpy()
        planes.append((signs[0] > 0).numpy())


def encode(
    codec: Codec, pixels: Pixels, weights: bytes, quality: float | None, iterations: int
) -> tuple[CodedImage, Pixels]:
    """Return the coded image and what it is decoded to, uint8 [c, h, w]; see `stages`."""
    last = None
    for last in stages(codec, pixels, quality, iterations):  # noqa: B007 - the last one is meant
        pass
    assert last is not None  # there is always the one before the first iteration
    return last.coded(weights), last.decoded


@torch.inference_mode()
def decode(codec: Codec, image: CodedImage) -> Pixels:
    """Return the image, uint8 [c, h, w], from its codes alone; `codec`: the one that it was coded with."""
    shape = (image.num_channels, image.height, image.width)
    rows, columns = positions_of(image.height, image.width)
    decoded, decoder = torch.zeros(1, shape[0], rows * STRIDE, columns * STRIDE), States()
    for iteration, plane in enumerate(torch.from_numpy(image.codes)):
        signs = torch.where(plane.unsqueeze(0), 1.0, STOP)
        decoded = decoded + codec.decode(signs, iteration, decoder)
    return _pixels(codec, decoded, shape)


def _padded(codec: Codec, pixels: Pixels) -> Tensor:
    """Return float32 [1, c, ...] as the network takes it, its sides filled up to multiples of STRIDE."""
    images = torch.tensor(pixels).unsqueeze(0).float()
    down, right = (-side % STRIDE for side in pixels.shape[1:])
    return functional.pad((images / 255 - codec.mean) / codec.std, (0, right, 0, down), mode="replicate")


def _pixels(codec: Codec, decoded: Tensor, shape: tuple[int, ...]) -> Pixels:
    """Return decoded [1, c, ...] as the image uint8 of `shape` [c, h, w]."""
    grey = (decoded * codec.std + codec.mean).mul(255).round().clamp(0, 255)
    return np.asarray(grey[0, :, : shape[1], : shape[2]].to(torch.uint8))
