"""Workers as threads: the collectives and what happens when one of them fails."""

from typing import Any

import pytest
import torch

from pipelines.parallel.metering.metered import CostMeter, MeteredCollectives
from pipelines.parallel.virtual_cluster import run_workers


def test_collectives_of_three_workers() -> None:
    def work(collectives: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        meter = CostMeter(torch.device("cpu"))
        link = MeteredCollectives(collectives, meter, "scope.")
        mine = torch.arange(3.0) + 10 * link.rank
        total = mine.clone()
        pending = link.start_sum(total, "sum")
        gathered = link.start_all_gather(mine, "gather").wait()
        swapped = link.start_all_to_all(mine.view(3, 1), "swap").wait()
        assert pending.wait() is total, "in place"
        cost = meter.take()
        assert cost.wire_bytes == 3 * 12
        # Two thirds of the payload in each of the two halves of the sum, all of it to two others, two of three rows.
        assert cost.sent_bytes == pytest.approx(4 / 3 * 12 + 2 * 12 + 2 / 3 * 12)
        assert cost.communication_seconds > 0.0
        assert meter.take().wire_bytes == 0
        return total, gathered, swapped

    for rank, (total, gathered, swapped) in enumerate(run_workers(3, work)):
        assert total.tolist() == [30.0, 33.0, 36.0]
        assert gathered.tolist() == [[0.0, 1.0, 2.0], [10.0, 11.0, 12.0], [20.0, 21.0, 22.0]]
        assert swapped.view(-1).tolist() == [rank, 10.0 + rank, 20.0 + rank]


def test_a_worker_that_fails_ends_the_others() -> None:
    def work(collectives: Any) -> None:
        if collectives.rank == 1:
            raise KeyError("the reason")
        collectives.start_sum(torch.zeros(1), "never").wait()

    with pytest.raises(KeyError, match="the reason"):
        run_workers(3, work)
