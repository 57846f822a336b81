"""EF-signSGD: scaled signs with error feedback, averaged (Karimireddy 2019)."""

import torch

from pipelines.parallel.compression.packing import unpack
from pipelines.parallel.strategies.signsgd import Signsgd
from pipelines.parallel.strategy import STRATEGIES


@STRATEGIES.register("efsignsgd")
class Efsignsgd(Signsgd):
    """Sends what `signsgd` sends, and applies the average of the ranks' a sgn(p) instead of a majority.

    p = g + e; a = |p|_1 / n for each tensor; e = p - a sgn(p) (paper, algorithm 1). The residual is in units of the
    gradient, not of the update: the same while the learning rate stays.
    """

    def decode(self, payloads: torch.Tensor, large: torch.Tensor, /) -> None:
        """Average what all ranks sent."""
        header = 4 * self.groups.count
        large.zero_()
        for payload in payloads:
            scales = payload[:header].view(torch.float32) / len(payloads)
            self.sent.copy_(unpack(payload[header:], 1, self.negative.view(torch.uint8)))
            self.groups.scale_(self.sent.mul_(-2).add_(1), scales)
            large.add_(self.sent)
