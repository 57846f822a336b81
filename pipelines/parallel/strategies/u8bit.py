"""8-bit approximation: each value as the nearest one of a fixed table, no error feedback (Dettmers 2016)."""

from collections.abc import Sequence

import torch

from pipelines.parallel.compression.scale_groups import TensorGroups, inverse_or_zero
from pipelines.parallel.patterns import FLOAT_BYTES, numel
from pipelines.parallel.strategies.bases.gathered import GatheredStrategy, as_bytes
from pipelines.parallel.strategy import STRATEGIES

MAGNITUDE_BITS = 7
NEGATIVE = 128


def dynamic_tree() -> torch.Tensor:
    """Return the 128 magnitudes of the dynamic tree data type (paper, section 3.1), rising, fp32.

    Zero; and for each number e of leading zero bits the middles of 2^(6 - e) equal parts of 0.1 to 1, times 10^-e.
    """
    magnitudes = [torch.zeros(1, dtype=torch.float64)]
    for zeros in reversed(range(MAGNITUDE_BITS)):
        bounds = torch.linspace(0.1, 1.0, 2 ** (MAGNITUDE_BITS - 1 - zeros) + 1, dtype=torch.float64)
        magnitudes.append((bounds[:-1] + bounds[1:]) / 2 * 10.0**-zeros)
    return torch.cat(magnitudes).float()


@STRATEGIES.register("u8bit")
class U8bit(GatheredStrategy):
    """Sends a byte a value: its sign and the nearest magnitude of the table, in units of the tensor's largest one."""

    def payload_bytes(self, large: Sequence[tuple[int, ...]], /) -> int:
        """Count the largest magnitude of each tensor, and a byte a value."""
        return FLOAT_BYTES * len(large) + sum(numel(shape) for shape in large)

    def prepare(self) -> None:
        """Allocate the table and a buffer, fp32 [n]."""
        table = dynamic_tree().to(self.gradients.large.device)
        self.middles = (table[:-1] + table[1:]) / 2
        self.values = torch.cat([table, -table])
        self.decoded = torch.empty_like(self.gradients.large)
        self.groups = TensorGroups(self.gradients.shapes)

    def encode(self, large: torch.Tensor, /) -> torch.Tensor:
        """Find the nearest magnitudes; overwrites `large`."""
        largest = self.groups.norms(large, torch.inf)
        self.groups.scale_(large, inverse_or_zero(largest))
        codes = torch.signbit(large).to(torch.uint8).mul_(NEGATIVE)
        codes.add_(torch.bucketize(large.abs_(), self.middles, out_int32=True).to(torch.uint8))
        return torch.cat([as_bytes(largest), codes])

    def decode(self, payloads: torch.Tensor, large: torch.Tensor, /) -> None:
        """Average what all ranks sent."""
        header = FLOAT_BYTES * self.groups.count
        large.zero_()
        for payload in payloads:
            torch.index_select(self.values, 0, payload[header:].to(torch.int32), out=self.decoded)
            self.groups.scale_(self.decoded, payload[:header].view(torch.float32) / len(payloads))
            large.add_(self.decoded)
