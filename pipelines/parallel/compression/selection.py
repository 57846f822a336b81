"""The largest values of a vector, without sorting all of it."""

import torch

NUM_SAMPLES = 65_536
"""Values that are looked at to guess a threshold; vectors of up to twice as many go to torch.topk at once."""


def largest(magnitudes: torch.Tensor, count: int) -> torch.Tensor:
    """Return the int64 indices [count] of the `count` largest of `magnitudes` [n], in no particular order.

    Exact: a threshold guessed a little too low from a sample leaves few candidates for torch.topk, and where
    it was too high all values are candidates.
    """
    num_values = magnitudes.numel()
    if num_values > 2 * NUM_SAMPLES and count < num_values // 4:
        sample = magnitudes[:: num_values // NUM_SAMPLES]
        expected = sample.numel() * count / num_values
        # Four standard deviations of the number of sampled values above the true threshold.
        position = min(sample.numel(), int(expected + 4 * expected**0.5) + 4)
        threshold = torch.topk(sample, position, sorted=False).values.min()
        candidates = (magnitudes >= threshold).nonzero().view(-1)
        if candidates.numel() >= count:
            return candidates[torch.topk(magnitudes[candidates], count, sorted=False).indices]
    return torch.topk(magnitudes, count, sorted=False).indices


def sampled_largest(magnitudes: torch.Tensor, count: int, sample_stride: int) -> torch.Tensor:
    """Return at most `count` int64 indices of values above a threshold that every `sample_stride`-th value gives.

    DGC (Lin 2018, section 5): the threshold is the quantile of a sample; where more values pass it, the
    largest of those are taken (hierarchical selection).
    """
    sample = magnitudes[::sample_stride]
    position = max(1, -(-sample.numel() * count // magnitudes.numel()))
    threshold = torch.topk(sample, position, sorted=False).values.min()
    passing = (magnitudes >= threshold).nonzero().view(-1)
    if passing.numel() > count:
        passing = passing[torch.topk(magnitudes[passing], count, sorted=False).indices]
    return passing
