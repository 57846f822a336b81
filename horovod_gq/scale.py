"""Delayed shared scale: the grid of steps, the header histogram, and the canary of the fp32 messages.

Every rank must quantize a tensor by the same step, without a message for it. So each packed message carries a
header of eight lanes a tensor; a rank adds 1 to the lane of its own magnitude (root mean square of g + r)
relative to the step in use. The sum is a histogram over the ranks: all ranks read the largest magnitude from
it and set the same next step (delayed scaling, as in Transformer Engine). That the histogram adds up to the
number of workers proves that the words were summed and not averaged, and by as many ranks as expected.
"""

from __future__ import annotations

import functools
import itertools
import math

import torch

STEPS_PER_OCTAVE = 2
"""Grid of steps: 2^k and 1.5 * 2^k. Two significant bits, so digit times step is exact in fp32."""
MIN_EXPONENT, MAX_EXPONENT = -60, 60
NUM_STEPS = (MAX_EXPONENT - MIN_EXPONENT) * STEPS_PER_OCTAVE
INITIAL_INDEX = NUM_STEPS // 2 - 10 * STEPS_PER_OCTAVE
"""Step of a tensor whose first gradients are all zero: 2^-10, adapted as soon as one is not."""

NUM_LANES = 8
LANE_ZERO, LANE_NONFINITE = 0, 7
LANE_DELTAS = (0, -2, -1, 0, 1, 2, 4, 0)
"""Change of the grid index that each lane asks for; lane 0 (all values zero) and 7 (non-finite) ask for none."""

OK, MISCOUNTED, NONFINITE = 0, 1, 2
"""Status of a tensor after a step."""

CANARY_DIGITS = 4
CANARY_SIZE = 1 + 2 * CANARY_DIGITS


CLIP_FACTORS = ((1, 1.0), (3, 2.0), (7, 2.5), (63, 8.0), (511, 12.0), (16383, 20.0))
"""(levels, clip factor): measured up to 511 levels (docs/horovod_gq_scale.md), the last extrapolated."""


def default_clip_factor(levels: int) -> float:
    """Clipping range L * step over the root mean square: interpolated between `CLIP_FACTORS` in log2 of L."""
    for (low, low_factor), (high, high_factor) in itertools.pairwise(CLIP_FACTORS):
        if levels <= high:
            share = math.log2(levels / low) / math.log2(high / low)
            return low_factor + share * (high_factor - low_factor)
    return CLIP_FACTORS[-1][1]


@functools.cache
def step_grid() -> torch.Tensor:
    """float64 [NUM_STEPS]: the steps in rising order."""
    exponents = range(MIN_EXPONENT, MAX_EXPONENT)
    return torch.tensor([m * 2.0**e for e in exponents for m in (1.0, 1.5)], dtype=torch.float64)


def header_bits(wire_bits: int) -> int:
    """Bits of a header lane: wide enough to count to the number of workers that the width carries."""
    return max(4, wire_bits)


def header_words(wire_bits: int) -> int:
    """Int32 words of one tensor's header."""
    return NUM_LANES * header_bits(wire_bits) // 32


def header_codes(wire_bits: int, device: torch.device) -> torch.Tensor:
    """int32 [NUM_LANES, header_words]: the header that counts 1 in the given lane."""
    bits = header_bits(wire_bits)
    per_word = 32 // bits
    codes = torch.zeros(NUM_LANES, header_words(wire_bits), dtype=torch.int32)
    for lane in range(NUM_LANES):
        codes[lane, lane // per_word] = 1 << (bits * (lane % per_word))
    return codes.to(device)


def settings_canary(digest: bytes) -> torch.Tensor:
    """fp32 [CANARY_SIZE]: 1, then four 6-bit digits of the digest and their squares.

    After a sum over N ranks the first value is N, and N * sum(d^2) = (sum d)^2 exactly when all ranks sent
    the same digits (Cauchy-Schwarz). All sums are integers below 2^24 for N <= 4096, hence exact in fp32.
    """
    number = int.from_bytes(digest[:3], "big")
    digits = [float((number >> (6 * i)) & 63) for i in range(CANARY_DIGITS)]
    return torch.tensor([1.0, *digits, *(d * d for d in digits)])


def check_canary(summed: torch.Tensor, workers: int, where: str) -> None:
    """Raise a ValueError on every rank when the reduction or the settings are not as they must be."""
    values = [float(value) for value in summed.tolist()]
    if values[0] != workers:
        raise ValueError(count_message(where, values[0], workers))
    sums, squares = values[1 : 1 + CANARY_DIGITS], values[1 + CANARY_DIGITS :]
    if any(workers * square != total * total for total, square in zip(sums, squares, strict=True)):
        raise ValueError(
            f"{where}: the ranks run GQ with different settings or models; give every rank the same GQConfig, "
            "number of workers and parameters in the same order"
        )


def count_message(where: str, counted: float, workers: int) -> str:
    """Explain a histogram or canary that does not add up to the number of workers."""
    return (
        f"{where}: the reduced message counts {counted:g} ranks where {workers} are expected; use op=hvd.Sum "
        "(GQ divides by the workers itself), no predivide factor, and the true number of workers"
    )


class SharedScale:
    """Steps of one bucket, on the device, updated without host synchronisation.

    A "tensor" here is what has one scale: with `scale_group` a part of one.

    Args:
        numels: float64 [tensors], number of values of each.
        wire_bits: lane width of the messages.
        levels: L.
        clip_factor: L * step over the root mean square.
        workers: number of ranks summed.
    """

    def __init__(
        self, numels: torch.Tensor, wire_bits: int, levels: int, clip_factor: float, workers: int
    ) -> None:
        device = numels.device
        self.workers = workers
        self.num_tensors = numels.numel()
        self.index = torch.full((self.num_tensors,), INITIAL_INDEX, dtype=torch.int64, device=device)
        self._steps = step_grid().to(device)
        # The smallest grid step with step >= ratio * rms; compared as squares, in fp64.
        ratio = clip_factor / levels
        self._thresholds = (step_grid() / ratio).square().to(device)
        # unit = clipping range / 64, rounded to a power of two: any root mean square lies well above it.
        self.digit_units = 2.0 ** round(math.log2(64.0 / levels))
        self._unit_square = 1.0 / (self.digit_units**2 * numels)
        self._deltas = torch.tensor(LANE_DELTAS, dtype=torch.int64, device=device)
        # Difference of index -2..4 to lane; a difference of 3 grows by 2 and the rest in the next step.
        self._lanes = torch.tensor([1, 2, 3, 4, 5, 5, 6], dtype=torch.int64, device=device)
        self._codes = header_codes(wire_bits, device)
        bits = header_bits(wire_bits)
        self._shifts = torch.arange(0, 32, bits, dtype=torch.int32, device=device)
        self._mask = 2**bits - 1
        self._lane_numbers = torch.arange(NUM_LANES, device=device)

    def steps(self, index: torch.Tensor, out: torch.Tensor) -> None:
        """Write the fp64 steps of the grid indices to `out` [tensors]."""
        torch.index_select(self._steps, 0, index, out=out)

    def target_index(self, sum_squares: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """int64 [tensors]: grid index for a sum of squares given in units of (step / digit_units)^2."""
        mean_square = sum_squares * self._unit_square * steps.square()
        return torch.bucketize(mean_square, self._thresholds).clamp_(max=NUM_STEPS - 1)

    def absolute_target(self, mean_square: torch.Tensor) -> torch.Tensor:
        """int64 [tensors]: grid index for mean squares (fp64)."""
        return torch.bucketize(mean_square, self._thresholds).clamp_(max=NUM_STEPS - 1)

    def write_header(
        self, sum_squares: torch.Tensor, steps: torch.Tensor, index: torch.Tensor, header: torch.Tensor
    ) -> None:
        """Count this rank in the lane of its magnitude; `header` int32 [tensors, header_words] is overwritten."""
        difference = self.target_index(sum_squares, steps).sub_(index).clamp_(-2, 4).add_(2)
        lane = torch.index_select(self._lanes, 0, difference)
        lane.masked_fill_(sum_squares == 0, LANE_ZERO)
        lane.masked_fill_(~torch.isfinite(sum_squares), LANE_NONFINITE)
        torch.index_select(self._codes, 0, lane, out=header)

    def read_header(self, header: torch.Tensor, index: torch.Tensor, status: torch.Tensor) -> None:
        """Update the steps from the summed header of a message that was encoded with `index`.

        Mutates `self.index` (the next steps) and `status` int32 [tensors].
        """
        lanes = ((header[:, :, None] >> self._shifts) & self._mask).view(self.num_tensors, NUM_LANES)
        asked = ((lanes > 0) * self._lane_numbers)[:, :LANE_NONFINITE].amax(1)
        torch.add(index, torch.index_select(self._deltas, 0, asked), out=self.index)
        self.index.clamp_(0, NUM_STEPS - 1)
        status.copy_((lanes[:, LANE_NONFINITE] > 0) * NONFINITE)
        status.masked_fill_(lanes.sum(1) != self.workers, MISCOUNTED)
