"""Selecting the largest values, groups that share a scale, sparse payloads."""

import math

import numpy as np
import pytest
import torch

from pipelines.parallel.compression.scale_groups import BucketGroups, TensorGroups, inverse_or_zero
from pipelines.parallel.compression.selection import NUM_SAMPLES, largest, sampled_largest
from pipelines.parallel.compression.sparse import add_payloads, entries_of, sparse_payload


def cases() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    size = 5 * NUM_SAMPLES + 17
    normal = torch.randn(size, generator=generator).abs()
    sparse = torch.zeros(size)
    sparse[torch.randperm(size, generator=generator)[:50]] = normal[:50] + 1
    clustered = normal.clone()
    clustered[1 :: size // NUM_SAMPLES] += 100  # large values where the sample does not look
    hidden = normal.clone()
    hidden[:: size // NUM_SAMPLES] += 100  # and where it looks alone: its threshold is far too high
    return {
        "normal": normal,
        "sparse": sparse,
        "constant": torch.ones(size),
        "clustered": clustered,
        "hidden": hidden,
        "small": normal[:1000],
    }


@pytest.mark.parametrize("case", cases())
@pytest.mark.parametrize("share", [1e-5, 0.001, 0.01, 0.2, 1.0])
def test_the_selection_is_exact(case: str, share: float) -> None:
    values = cases()[case]
    count = max(1, int(values.numel() * share))
    indices = largest(values, count)
    assert indices.unique().numel() == indices.numel() == count
    # Ties may be broken either way, the selected values are the same.
    assert torch.equal(values[indices].sort().values, values.sort().values[-count:])


@pytest.mark.parametrize("case", ["normal", "sparse", "constant", "clustered", "hidden", "small"])
def test_the_sampled_selection_never_takes_too_many(case: str) -> None:
    values = cases()[case]
    for count, stride in ((1, 1), (10, 7), (values.numel() // 100, 10), (values.numel(), 3)):
        indices = sampled_largest(values, count, stride)
        assert indices.unique().numel() == indices.numel() <= count
        rest = torch.ones(values.numel(), dtype=torch.bool)
        rest[indices] = False
        if stride == 1:
            assert indices.numel() == count
        # What is left is never larger than what was taken.
        assert not rest.any() or indices.numel() == 0 or values[rest].max() <= values[indices].min()


def test_groups_scale_what_belongs_to_them() -> None:
    vector = torch.randn(1050, generator=torch.Generator().manual_seed(0))
    tensors = TensorGroups([torch.Size((30, 20)), torch.Size((450,))])
    buckets = BucketGroups(1050, 100)
    whole = BucketGroups(1000, 100)
    assert (tensors.count, buckets.count, whole.count) == (2, 11, 10)
    for groups, bounds, values in (
        (tensors, [0, 600, 1050], vector),
        (buckets, [*range(0, 1050, 100), 1050], vector),
        (whole, list(range(0, 1001, 100)), vector[:1000]),
    ):
        parts = [values[a:b].double().numpy() for a, b in zip(bounds, bounds[1:], strict=False)]  # noqa: RUF007
        for order in (1.0, 2.0, math.inf):
            norms = groups.norms(values, order)
            # Sums of up to 600 values in fp32.
            np.testing.assert_allclose(norms, [np.linalg.norm(p, order) for p in parts], rtol=600 * 6e-8)
        factors = torch.arange(1.0, len(parts) + 1)
        scaled = values.clone()
        groups.scale_(scaled, factors)
        expected = np.concatenate([part * (number + 1) for number, part in enumerate(parts)])
        np.testing.assert_allclose(scaled, expected, rtol=1.2e-7)


def test_scales_near_zero_have_no_inverse() -> None:
    scales = torch.tensor([0.0, 1e-40, 2.0, float("nan")])
    inverse = inverse_or_zero(scales)
    assert inverse[:3].tolist() == [0.0, 0.0, 0.5]
    assert inverse[3].isnan()


def test_sparse_payloads_add_up_and_missing_entries_count_nothing() -> None:
    first = sparse_payload(torch.tensor([2.0, -1.0]), torch.tensor([4, 0]), 3)
    second = sparse_payload(torch.tensor([6.0, 1.0, 8.0]), torch.tensor([4, 1, 3]), 3)
    assert first.numel() == 24
    out = torch.full((5,), 7.0)
    add_payloads(torch.stack([first, second]), out)
    assert out.tolist() == [-0.5, 0.5, 0.0, 4.0, 4.0]


def test_the_number_of_entries_is_rounded_up() -> None:
    assert [entries_of(n, d) for n, d in ((1000, 0.01), (1001, 0.01), (10, 0.001), (0, 0.5), (7, 1.0))] == [
        *(10, 11, 1, 0, 7)
    ]
