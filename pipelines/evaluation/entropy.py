"""How much the images of a data set hold, and the depth that it bounds, after the abstract of EBCLE (arXiv:2106.14190).

Shannon entropy of the 8-bit intensities, and of the differences of neighbouring ones. The bound is the simplest
monotone map with one constant: depth = constant x entropy. The constant is fixed on one data set and then holds for
others.
"""

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pipelines.errors import UserError

Counts = npt.NDArray[np.int64]


def intensity_entropy(images: Tensor) -> tuple[float, ...]:
    """Return the entropy in bits (0 to 8) of the pixels of each channel of uint8 [n, c, h, w]."""
    return tuple(
        _entropy(np.bincount(images[:, channel].numpy().ravel(), minlength=256))
        for channel in range(images.shape[1])
    )


def difference_entropy(images: Tensor) -> tuple[float, ...]:
    """Return the entropy in bits (0 to 9) of local differences of each channel of uint8 [n, c, h, w].

    Of each pixel to its right and to its lower neighbour, both counted together: values -255 to 255.
    """
    pixels = images.numpy().astype(np.int16)
    entropies = []
    for channel in range(pixels.shape[1]):
        plane = pixels[:, channel]
        steps = (plane[:, :, 1:] - plane[:, :, :-1], plane[:, 1:] - plane[:, :-1])
        counts = sum(np.bincount(step.ravel() + 255, minlength=511) for step in steps)
        entropies.append(_entropy(np.asarray(counts)))
    return tuple(entropies)


def bounded_depth(entropy_bits: float, constant: float) -> int:
    """Return the number of layers that images of so many bits a pixel bound: constant x entropy, at least 1."""
    return max(1, round(constant * entropy_bits))


def fitted_constant(entropy_bits: float, depth: int) -> float:
    """Return the constant for which images of so many bits bound the depth that was found useful for them.

    Raises UserError where there is no entropy: all pixels are alike.
    """
    if entropy_bits <= 0:
        raise UserError("prepare.name: the images have an entropy of 0 bits; images that differ are needed")
    return depth / entropy_bits


def _entropy(counts: Counts) -> float:
    """Return the entropy in bits of the distribution with these counts."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # no negative zero
