"""Slow independent reference of the wire format, in Python integers and numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def pack(digits: npt.NDArray[np.int64], wire_bits: int, workers: int = 1) -> npt.NDArray[np.int64]:
    """Signed-digit words of `digits` in the plane order of the codec, as Python-exact integers.

    Word j holds bytes 4 j .. 4 j + 3 of each plane; the digit of plane p and byte b sits in bits
    8 b + w p (at width 16, word j holds digit j of both planes). At width 3, word j holds digit j of every
    plane, in base 2 N L + 1, the first plane in the lowest place.
    """
    if wire_bits == 3:
        largest, num_digits = dense_digits(workers)
        planes = digits.reshape(num_digits, -1)
        weights = np.array([(2 * largest + 1) ** place for place in range(num_digits)])
        return np.asarray((planes * weights[:, None]).sum(0))
    if wire_bits == 16:
        planes = digits.reshape(2, -1)
        return np.asarray(planes[0] + (planes[1] << 16))
    planes = digits.reshape(max(1, 8 // wire_bits), -1, 4)
    words = np.zeros(planes.shape[1], dtype=np.int64)
    for plane in range(planes.shape[0]):
        for byte in range(4):
            words += planes[plane, :, byte] << (8 * byte + wire_bits * plane)
    return words


def dense_digits(workers: int) -> tuple[int, int]:
    """The largest sum of a digit at width 3, and the most digits whose every sum fits into an int32, by trying."""
    largest = {1: 4, 2: 4, 3: 3, 4: 4}.get(workers, workers)
    extreme = lambda digits: sum(largest * (2 * largest + 1) ** place for place in range(digits))  # noqa: E731
    return largest, max(digits for digits in range(1, 33) if extreme(digits) <= 2**31 - 1)


def unpack(words: npt.NDArray[np.int64], wire_bits: int, workers: int = 1) -> npt.NDArray[np.int64]:
    """Peel the signed digits off one after the other, lowest lane first (exact integers)."""
    if wire_bits == 3:
        return _unpack_dense(words, workers)
    lanes = 32 // wire_bits
    half, base = 2 ** (wire_bits - 1), 2**wire_bits
    rest = words.astype(np.int64)
    by_lane = np.zeros((lanes, len(words)), dtype=np.int64)
    for lane in range(lanes):
        digit = (rest + half) % base - half
        by_lane[lane] = digit
        rest = (rest - digit) // base
    assert not rest.any()
    if wire_bits == 16:
        return by_lane.reshape(-1)
    num_planes = max(1, 8 // wire_bits)
    out = np.zeros((num_planes, len(words), 4), dtype=np.int64)
    for lane in range(lanes):
        byte, plane = divmod(lane * wire_bits, 8)
        out[plane // wire_bits, :, byte] = by_lane[lane]
    return out.reshape(-1)


def _unpack_dense(words: npt.NDArray[np.int64], workers: int) -> npt.NDArray[np.int64]:
    largest, num_digits = dense_digits(workers)
    rest = words.astype(np.int64)
    planes = []
    for _ in range(num_digits):
        digit = (rest + largest) % (2 * largest + 1) - largest
        planes.append(digit)
        rest = (rest - digit) // (2 * largest + 1)
    assert not rest.any()
    return np.concatenate(planes)


def quantize(
    gradient: npt.NDArray[np.float32],
    residual: npt.NDArray[np.float32],
    step: float,
    levels: int,
    residual_limit: float,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Nearest rounding (ties to even) with clipping; digits and the new residual, bounded."""
    total = gradient + residual
    with np.errstate(over="ignore"):
        scaled = total * np.float32(1.0 / step)
    digits = np.clip(np.rint(scaled), -levels, levels)
    lost = total - digits.astype(np.float32) * np.float32(step)
    bound = np.float32(residual_limit * levels) * np.float32(step)
    return digits.astype(np.int64), np.clip(lost, -bound, bound)
