"""Which sizes of bucket `auto` tries: steps computed by hand."""

import pytest
import torch

from horovod_gq import GQConfig
from horovod_gq.buckets import DEFAULT_BUCKET_BYTES
from horovod_gq.timing import Timings
from pipelines.parallel.formats.costs import Cost
from pipelines.parallel.formats.plans import Plan
from pipelines.parallel.formats.pool import FormatPool
from pipelines.parallel.formats.sizes import MOST_TRIED, Part, Sizes, step_seconds
from pipelines.parallel.virtual_cluster import run_workers

NUM_TENSORS, VALUES = 8, 65_536
"""Eight tensors of 256 KiB, all in one bucket of the usual size."""


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        # Nothing hides in one bucket: 10 for the backward pass, 1 to encode, 4 on the link, 2 to decode.
        ([Part(10, 1, 4, 2)], 17),
        # The first leaves at 5 + 1, is there at 8, and is decoded when the backward pass is over, at 10 + 2; the second
        # leaves then, is there at 14 and decoded at 15.
        ([Part(5, 1, 2, 1), Part(10, 1, 2, 1)], 15),
        # A slow link: the second message waits for the first, from 6 to 16, and is there at 26.
        ([Part(5, 1, 10, 1), Part(10, 1, 10, 1)], 27),
        # Exchanges that cost nothing.
        ([Part(3, 0, 0, 0), Part(10, 0, 0, 0)], 10),
    ],
)
def test_a_step_is_a_pipeline(parts: list[Part], expected: float) -> None:
    assert step_seconds(parts) == expected


def sizes_of(cost: Cost, codec: Cost) -> tuple[FormatPool, Sizes]:
    """Gradients that arrive every ten milliseconds, the last tensor's first."""
    named = [(f"t{n}", torch.nn.Parameter(torch.zeros(256, VALUES // 256))) for n in range(NUM_TENSORS)]
    configs = {"gq4": GQConfig(wire_bits=4, compile_kernels=False)}
    pool = run_workers(1, lambda link: FormatPool(named, configs, link, Timings()))[0]
    arrivals = {f"t{n}": 0.01 * (NUM_TENSORS - n) for n in range(NUM_TENSORS)}
    return pool, Sizes(pool, arrivals, {"none": cost, "gq4": cost}, {"none": codec, "gq4": codec})


def plans(pool: FormatPool) -> list[Plan]:
    return [
        Plan(size, ("gq4",) * len(pool.groups(size))) for size in (DEFAULT_BUCKET_BYTES, 2**20, 2**19, 2**18)
    ]


def test_small_buckets_are_tried_where_they_hide_more() -> None:
    # 5 ms a tensor on the link, no cost a message: the last bucket alone is exposed.
    pool, sizes = sizes_of(Cost(0.0, 0.005 / VALUES), Cost(0.0, 0.0))
    assert [len(plan.formats) for plan in plans(pool)] == [1, 2, 4, 8]
    assert [sizes.step_of(plan) for plan in plans(pool)] == pytest.approx([0.12, 0.1, 0.09, 0.085])
    tried = sizes.worth_trying(plans(pool))
    assert [plan.bucket_bytes for plan in tried] == [DEFAULT_BUCKET_BYTES, 2**18, 2**19]
    assert len(tried) == 1 + MOST_TRIED


def test_only_the_usual_size_where_messages_cost_more_than_they_hide() -> None:
    pool, sizes = sizes_of(Cost(0.1, 0.005 / VALUES), Cost(0.0, 0.0))
    assert sizes.worth_trying(plans(pool)) == plans(pool)[:1]


def test_a_format_that_was_not_timed_counts_as_fp32() -> None:
    _, sizes = sizes_of(Cost(0.0, 0.005 / VALUES), Cost(0.0, 0.0))
    assert sizes.step_of(Plan(2**20, ("gq8", "none"))) == sizes.step_of(Plan(2**20, ("none", "none")))
