"""Unbiased rounding to few levels, by owned random draws (QSGD, Alistarh 2017, section 3.1)."""

import torch


def stochastic_levels(
    values: torch.Tensor, levels: int, generator: torch.Generator, draws: torch.Tensor, out: torch.Tensor
) -> torch.Tensor:
    """Round fp32 `values` in [-levels, levels] to a neighbouring integer; write it plus `levels` to `out`, uint8.

    The expectation is the value itself: floor(v + u), u uniform in [0, 1). `values` and `draws` (of the same
    shape) are overwritten. Values that are not finite give any level.
    """
    draws.uniform_(generator=generator)
    # Rounding of the sum can reach one level too many where u is next to 1, hence the clamp.
    draws.add_(values).add_(levels).clamp_(0, 2 * levels)
    return out.copy_(draws)
