"""Where the linear path of a codec starts from: an embedded transform coder, learnt from blocks without gradients."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.codec.network import NUM_BITS, STRIDE, Codec
from pipelines.data import PreparedData, ordered_batches

SHARPNESS = 2.0
"""Value before the tanh of a coefficient of average size: how far from chance a stochastic sign is."""
BATCH_SIZE = 256
_found: dict[tuple[str, int], "Transform"] = {}
"""By checksum of the data and iterations: all variants and seeds start from the same, and it takes a second."""


@dataclass(frozen=True, kw_only=True)
class Transform:
    """Rows for each iteration, of blocks of d values."""

    analysis: Tensor
    """[t, NUM_BITS, d]: the value of a bit is the product of its row with the residual."""
    synthesis: Tensor
    """[t, NUM_BITS, d]: what a bit of +1 adds."""
    remaining: Tensor
    """[t]: the root of the mean square of the residual before the iteration."""


def embedded_transform(blocks: Tensor, iterations: int) -> Transform:
    """Return the transform of blocks float [n, d], d >= NUM_BITS, by principal components.

    The coefficients of the blocks by the components (of the second moment: an image starts from zeros) are coded by
    signs. A sign with the mean of |c| as its level takes the square of that mean off the mean square of c, and no other
    level takes more; each iteration takes the `NUM_BITS` coefficients whose signs take off most, and what is left of
    them stays for the next.
    """
    blocks = blocks.double()
    _, components = torch.linalg.eigh(blocks.T @ blocks / len(blocks))
    left = blocks @ components
    analysis, synthesis, remaining = [], [], []
    for _ in range(iterations):
        remaining.append(left.square().mean().sqrt())
        levels = left.abs().mean(0)
        chosen = levels.topk(NUM_BITS).indices
        rows, sizes = components[:, chosen].T, levels[chosen].clamp(min=torch.finfo(torch.float32).tiny)
        analysis.append(SHARPNESS * rows / sizes.unsqueeze(1))
        synthesis.append(rows * sizes.unsqueeze(1))
        left[:, chosen] -= torch.where(left[:, chosen] >= 0, 1.0, -1.0) * sizes
    return Transform(
        analysis=torch.stack(analysis), synthesis=torch.stack(synthesis), remaining=torch.stack(remaining)
    )


def start_from(codec: Codec, data: PreparedData) -> None:
    """Set the linear path of `codec`, in place, to the embedded transform of the blocks of the training images."""
    key = data.checksum, codec.iterations
    if key not in _found:
        images = torch.cat([images for images, _ in ordered_batches(data.train, data, BATCH_SIZE)])
        _found[key] = embedded_transform(blocks_in(images), codec.iterations)
    found = _found[key]
    with torch.no_grad():
        codec.analysis.copy_(found.analysis.view_as(codec.analysis))
        codec.synthesis.copy_(found.synthesis.view_as(codec.synthesis))
        codec.log_gains.copy_(found.remaining.clamp(min=torch.finfo(torch.float32).tiny).log())


def blocks_in(images: Tensor) -> Tensor:
    """Return all whole blocks [n, c * STRIDE * STRIDE] of images [b, c, h, w], without overlap."""
    tiles = images.unfold(2, STRIDE, STRIDE).unfold(3, STRIDE, STRIDE)
    return tiles.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2)
