from __future__ import annotations

import math

import pytest

from horovod_gq import GQ, GQConfig, num_levels
from horovod_gq.config import UNCOMPRESSED
from horovod_gq.packing import num_words


@pytest.mark.parametrize(
    ("wire_bits", "workers", "levels"),
    [(2, 1, 1), (4, 1, 7), (4, 2, 3), (4, 7, 1), (8, 2, 63), (8, 64, 1), (16, 64, 511)],
)
def test_levels_follow_from_width_and_workers(wire_bits: int, workers: int, levels: int) -> None:
    assert num_levels(wire_bits, workers) == levels
    assert levels * workers <= 2 ** (wire_bits - 1) - 1


def test_scatter_reduce_allgather_uses_the_whole_lane() -> None:
    assert num_levels(2, 64, "scatter_reduce_allgather") == 1
    assert num_levels(4, 64, "scatter_reduce_allgather") == 7


def test_width_3_carries_sums_of_up_to_15_workers() -> None:
    assert [num_levels(3, workers) for workers in (1, 2, 3, 4, 5, 15)] == [4, 2, 1, 1, 1, 1]
    # 9^10, 7^11 and 11^9 different words: ten digits, eleven, nine.
    assert [num_words(990, 3, workers) for workers in (1, 2, 3, 4, 5)] == [99, 99, 90, 99, 110]
    with pytest.raises(
        ValueError, match="wire_bits=3 cannot carry the sum of 16 workers; use wire_bits 8 or 16"
    ):
        num_levels(3, 16)
    with pytest.raises(ValueError, match=r"wire_bits=3 packs sums; .* use wire_bits=2 or 4"):
        num_levels(3, 2, "scatter_reduce_allgather")


def test_too_many_workers_names_the_widths_that_work() -> None:
    with pytest.raises(
        ValueError, match="wire_bits=4 cannot carry the sum of 8 workers; use wire_bits 3 or 8 or 16"
    ):
        GQ(wire_bits=4, workers=8)
    with pytest.raises(ValueError, match=r"wire_bits=2 .* use wire_bits 3 or 4 or 8 or 16"):
        GQ(wire_bits=8, overrides=(("head*", 2),), workers=2)


@pytest.mark.parametrize(
    "fields",
    [
        {"wire_bits": 5},
        {"factor_bits": 3},
        {"exchange": "ring"},
        {"rounding": "up"},
        {"warmup_steps": 0},
        {"min_numel": 0},
        {"clip_factor": -1.0},
        {"residual_limit": 0.0},
        {"residual_limit": math.nan},
        {"nonfinite": "ignore"},
        {"overrides": (("a", 5),)},
    ],
)
def test_bad_settings_name_the_key_and_the_value(fields: dict[str, object]) -> None:
    key, value = next(iter(fields.items()))
    with pytest.raises(ValueError, match=key) as raised:
        GQConfig(**fields)  # type: ignore[arg-type]
    assert str(value[0][1] if isinstance(value, tuple) else value) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_stock_optimizer_cannot_scatter() -> None:
    with pytest.raises(ValueError, match=r"horovod_gq\.DistributedOptimizer"):
        GQ(exchange="scatter_reduce_allgather")


def test_width_of_a_tensor() -> None:
    config = GQConfig(wire_bits=4, min_numel=100, overrides=(("*.head.weight", 16), ("stem*", UNCOMPRESSED)))
    assert config.width_of("a.weight", (10, 10)) == 4
    assert config.width_of("a.weight", (10, 9)) == UNCOMPRESSED
    assert config.width_of("a.bias", (1000,)) == UNCOMPRESSED
    assert config.width_of("net.head.weight", (2, 2)) == 16
    assert config.width_of("stem.conv", (100, 100)) == UNCOMPRESSED
