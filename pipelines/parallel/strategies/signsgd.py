"""signSGD with majority vote (Bernstein 2018) and error feedback (Karimireddy 2019)."""

from collections.abc import Sequence

import torch

from pipelines.errors import UserError
from pipelines.parallel.compression.packing import pack, packed_bytes, unpack
from pipelines.parallel.compression.scale_groups import TensorGroups
from pipelines.parallel.patterns import FLOAT_BYTES, numel
from pipelines.parallel.strategies.bases.gathered import FeedbackStrategy, as_bytes
from pipelines.parallel.strategy import STRATEGIES

MOST_WORKERS = 255
"""Their votes are added in a byte."""


@STRATEGIES.register("signsgd")
class Signsgd(FeedbackStrategy):
    """Sends the sign of each value, one bit, and the mean magnitude of each tensor; the majority decides.

    p = g + e; each rank sends a = |p|_1 / n (Karimireddy 2019, algorithm 1) and sgn(p); the update is the mean of
    the ranks' a times the sign of the sum of their signs (Bernstein 2018, algorithm 3), 0 in a draw; and
    e = p - a sgn(p). With two ranks of equal a that is the average of what they sent.
    """

    def payload_bytes(self, large: Sequence[tuple[int, ...]], /) -> int:
        """Count a scale a tensor, and a bit a value."""
        return FLOAT_BYTES * len(large) + packed_bytes(sum(numel(shape) for shape in large), 1)

    def prepare(self) -> None:
        """Allocate the residual, a buffer of its size, and sign bits and votes, 1 byte a value each."""
        super().prepare()
        if self.link.workers > MOST_WORKERS:
            raise UserError(f"signsgd: {self.link.workers} workers are not allowed; allowed: {MOST_WORKERS}")
        self.groups = TensorGroups(self.gradients.shapes)
        self.numels = torch.tensor(
            [float(shape.numel()) for shape in self.gradients.shapes], device=self.residual.device
        )
        self.sent = torch.empty_like(self.residual)
        self.one = torch.ones((), device=self.residual.device)
        self.negative = torch.empty(self.residual.shape, dtype=torch.bool, device=self.residual.device)
        self.votes = torch.empty_like(self.negative, dtype=torch.uint8)

    def encode(self, large: torch.Tensor, /) -> torch.Tensor:
        """Take signs and scales of gradient plus residual, and what they stand for out of the residual."""
        self.residual.add_(large)
        scales = self.groups.norms(self.residual, 1.0) / self.numels
        torch.signbit(self.residual, out=self.negative)
        torch.copysign(self.one, self.residual, out=self.sent)
        self.groups.scale_(self.sent, scales)
        self.residual.sub_(self.sent)
        return torch.cat([as_bytes(scales), pack(self.negative.view(torch.uint8), 1)])

    def decode(self, payloads: torch.Tensor, large: torch.Tensor, /) -> None:
        """Count the votes of all ranks."""
        header = 4 * self.groups.count
        scales = payloads[:, :header].contiguous().view(torch.float32).mean(0)
        # Votes add up in a byte, far faster than in fp32.
        self.votes.zero_()
        for payload in payloads:
            self.votes.add_(unpack(payload[header:], 1, self.negative.view(torch.uint8)))
        large.copy_(self.votes).mul_(-2).add_(len(payloads)).sign_()
        self.groups.scale_(large, scales)
