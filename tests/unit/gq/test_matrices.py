"""Blocks of low-rank matrices: they cover the bucket, and change nothing but the order of sums."""

import pytest
import torch
from torch import nn

from horovod_gq import matrices
from horovod_gq.matrices import BLOCK_BYTES, cut
from horovod_gq.virtual import VirtualCluster

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("shapes", "num_blocks"),
    [
        ([(512, 4608)], 19),  # of 28 rows of 18 kB
        ([(12, 432)] * 30, 2),  # 20.7 kB each: 25 fit
        ([(3, 10**6)], 3),  # a row is larger than a block
        ([(512, 4608), (12, 432)], 19),  # the small one fits behind the last rows
    ],
)
def test_blocks_cover_the_bucket_in_order(shapes: list[tuple[int, int]], num_blocks: int) -> None:
    blocks = cut(shapes, CPU)
    assert len(blocks) == num_blocks
    offsets = [0]
    for rows, columns in shapes:
        offsets.append(offsets[-1] + rows * columns)
    position = 0
    for block in blocks:
        assert block.values.start == position
        for number, rows in block.members:
            assert position == offsets[number] + rows.start * shapes[number][1]
            position += (rows.stop - rows.start) * shapes[number][1]
        assert block.values.stop == position
        single_row = len(block.members) == 1 and block.members[0][1].stop - block.members[0][1].start == 1
        assert 4 * (block.values.stop - block.values.start) <= BLOCK_BYTES or single_row
    assert position == offsets[-1]


def averages(steps: int) -> list[torch.Tensor]:
    """What two workers get from gradients of whole numbers, in every step."""
    shapes = {"a.weight": (40, 96), "b.weight": (24, 64), "c.weight": (8, 8, 3, 3)}
    parameters = [(name, nn.Parameter(torch.zeros(shape))) for name, shape in shapes.items()]
    cluster = VirtualCluster(
        parameters, 2, wire_bits=4, form="lowrank", factor_rank=2, min_numel=64, compile_kernels=False
    )
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(steps):
        for worker in range(2):
            for _, parameter in parameters:
                parameter.grad = torch.randint(-3, 4, parameter.shape, generator=generator).float()
            cluster.collect(worker)
        cluster.average()
        found.append(torch.cat([parameter.grad.flatten() for _, parameter in parameters]))  # type: ignore[union-attr]
    return found


def test_small_blocks_give_the_values_of_whole_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = averages(4)
    monkeypatch.setattr(matrices, "BLOCK_BYTES", 1500)
    assert len(cut([(40, 96), (24, 64)], CPU)) > 10
    in_blocks = averages(4)
    # The first Q has few bits, so the sums of the first step are exact in any order; later ones are rounded.
    assert torch.equal(in_blocks[0], whole[0])
    assert whole[0].abs().max() > 0
    for one, other in zip(in_blocks[1:], whole[1:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))
