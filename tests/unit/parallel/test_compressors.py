"""Every peer against a slow numpy form of its paper's formulas, over several steps and three workers."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipelines.parallel.strategies import dgc
from pipelines.parallel.strategy import Channel
from pipelines.parallel.virtual_cluster import run_workers
from tests.references import compressors as references
from tests.unit.parallel.compressors import LARGE, SHAPES, Tensors, build, exchange, flat, gradients

WORKERS, STEPS = 3, 6
EPSILON = float(np.finfo(np.float32).eps)


def assert_close(
    found: list[list[torch.Tensor]], expected: list[NDArray[np.float64]], roundings: int
) -> None:
    """Equal up to so many fp32 roundings of the largest value of a step."""
    assert len(found) == len(expected) == STEPS
    for tensors, reference in zip(found, expected, strict=True):
        tolerance = roundings * EPSILON * np.abs(reference).max()
        np.testing.assert_allclose(flat(tensors), reference, rtol=0, atol=tolerance)
        assert np.abs(reference).max() > 0


def vectors(given: list[list[list[torch.Tensor]]]) -> list[list[NDArray[np.float64]]]:
    return [[flat(rank) for rank in step] for step in given]


@pytest.mark.parametrize("density", [0.01, 0.1, 1.0])
def test_topk_is_the_reference(density: float) -> None:
    given = gradients(STEPS, WORKERS)
    # A value is added up over the steps, then over the ranks: one rounding each, and one of the division.
    expected = references.topk_steps(vectors(given), density)
    assert_close(exchange("topk", {"density": density}, given), expected, STEPS + WORKERS + 1)


def test_signsgd_is_the_reference() -> None:
    given = gradients(STEPS, WORKERS)
    # A mean over n values in fp32 is wrong by at most n roundings; pairwise sums are far better: log2(n) = 11.
    expected = references.signsgd_steps(vectors(given), list(LARGE))
    assert_close(exchange("signsgd", {}, given), expected, 11 + STEPS + WORKERS)


@pytest.mark.parametrize(
    ("name", "compress"), [("efsignsgd", references.scaled_signs), ("onebit", references.two_means)]
)
def test_one_bit_with_feedback_is_the_reference(name: str, compress: Any) -> None:
    given = gradients(STEPS, WORKERS)
    expected = references.feedback_steps(vectors(given), lambda values, _: compress(values, list(LARGE)))
    # Means as with signSGD; 1-bit SGD's are those of parts, so that rounding errors may be twice as large.
    assert_close(exchange(name, {}, given), expected, 2 * (11 + STEPS + WORKERS))


@pytest.mark.parametrize("threshold", [0.0, 0.3, 2.0])
def test_threshold_is_the_reference(threshold: float) -> None:
    given = gradients(STEPS, WORKERS)
    expected = references.feedback_steps(
        vectors(given), lambda values, _: np.where(np.abs(values) >= threshold, values, 0.0)
    )
    assert sum(np.count_nonzero(step) for step in expected) < STEPS * sum(LARGE) or threshold == 0.0
    options = {"threshold": threshold, "expected_density": 0.1}
    assert_close(exchange("threshold", options, given), expected, STEPS + WORKERS + 1)


def test_threshold_messages_are_as_long_as_the_longest_needs() -> None:
    given = gradients(2, 2)
    sizes: list[set[int]] = [set(), set()]
    counts = [[int((abs(flat(rank)) >= 1.0).sum()) for rank in given[0]]]

    def inspect(strategy: Any, rank: int) -> None:
        sizes[rank].add(strategy.room)

    exchange("threshold", {"threshold": 1.0, "expected_density": 0.1}, given[:1], inspect=inspect)
    assert sizes == [{-(-max(counts[0]) // 64) * 64}] * 2
    assert counts[0][0] != counts[0][1]


@pytest.mark.parametrize("density", [0.004, 0.3, 1.0])
def test_randomk_sends_values_of_an_equal_part_each_and_feeds_the_rest_back(density: float) -> None:
    given = gradients(STEPS, WORKERS)
    found = exchange("randomk", {"density": density, "seed": 3}, given)
    masks = [flat(tensors) != 0 for tensors in found]
    count = math.ceil(density * sum(LARGE))
    assert [int(mask.sum()) for mask in masks] == [count] * STEPS
    assert density == 1.0 or any((masks[0] != mask).any() for mask in masks[1:])
    bounds = np.ceil(np.arange(count + 1) * (sum(LARGE) / count)).astype(int)
    for mask in masks:
        assert (np.add.reduceat(mask.astype(int), bounds[:-1]) == 1).all(), "one of each part"
    expected = references.feedback_steps(
        vectors(given), lambda values, step: np.where(masks[step], values, 0.0)
    )
    assert_close(found, expected, STEPS + WORKERS + 1)


def test_randomk_gives_every_value_its_chance() -> None:
    steps, density = 400, 0.1
    one = gradients(1, 2)[0]
    hits = sum(
        (flat(tensors) != 0).astype(int)
        for tensors in exchange("randomk", {"density": density, "seed": 1}, [one] * steps)
    )
    # Parts have 9 or 10 values of the 10 that the density asks for; five standard deviations of a binomial.
    spread = 5 * math.sqrt(steps * density * (1 - density))
    assert np.abs(hits - steps * density).max() < spread + steps * (1 / 9 - 1 / 10)


@pytest.mark.parametrize("nesterov", [False, True])
def test_signum_is_the_reference(nesterov: bool) -> None:
    given = gradients(STEPS, WORKERS)
    found = exchange(
        "signum",
        {"magnitude": 0.25},
        given,
        make_optimizer=lambda model: torch.optim.SGD(
            model.parameters(), lr=1.0, momentum=0.9, nesterov=nesterov
        ),
    )
    expected = references.signum_steps(vectors(given), momentum=0.9, nesterov=nesterov, magnitude=0.25)
    # A momentum within rounding of zero may fall on either side; here none does.
    assert_close(found, expected, 0)


@pytest.mark.parametrize(
    ("name", "options", "compress", "roundings"),
    [
        # A value in units of the largest, the table's, and back: three roundings, and one a rank.
        ("u8bit", {}, lambda values: references.nearest_in_tree(values, list(LARGE)), 3 + WORKERS),
        # Means are taken in fp64.
        ("sketch", {"bits": 4}, lambda values: references.bucket_means(values, list(LARGE), 16), 2 + WORKERS),
        (
            "inceptionn",
            {"bound_bits": 10, "expected_bits": 8},
            lambda values: references.cut_off(values, 10),
            WORKERS,
        ),
        (
            "inceptionn",
            {"bound_bits": 6, "expected_bits": 8},
            lambda values: references.cut_off(values, 6),
            WORKERS,
        ),
    ],
)
def test_peers_without_feedback_are_the_reference(
    name: str, options: dict[str, Any], compress: Any, roundings: int
) -> None:
    given = gradients(STEPS, WORKERS)
    expected = [np.mean([compress(rank) for rank in step], axis=0) for step in vectors(given)]
    assert_close(exchange(name, options, given), expected, roundings)


def test_adaptive_quantization_is_the_reference() -> None:
    given = gradients(STEPS, WORKERS)
    expected = references.feedback_steps(
        vectors(given), lambda values, _: references.means_of_the_outer(values, list(LARGE), 0.05)
    )
    # Means of up to 75 values in fp32, pairwise: log2(75) = 7 roundings; then as with the others.
    assert_close(exchange("adaq", {"density": 0.05}, given), expected, 2 * (7 + STEPS + WORKERS))


def test_inceptionn_sends_as_many_bits_as_a_value_needs() -> None:
    """Half of the values in bytes, a quarter in fp32, a quarter not at all: 2 bits of tag and 4 + 8 bits on average."""
    tensor = torch.tensor([0.5, -0.25, 3.0, 1e-4]).repeat(300).view(40, 30)
    given = [[[tensor, *(torch.zeros_like(t) for t in rank[1:])] for rank in gradients(1, 2)[0]]]
    rooms: set[int] = set()
    found = exchange(
        "inceptionn",
        {"bound_bits": 10, "expected_bits": 8},
        given,
        inspect=lambda strategy, rank: rooms.add(strategy.packed.numel()),  # type: ignore[attr-defined]
    )
    assert found[0][0].view(-1)[:4].tolist() == [0.5, -0.25, 3.0, 0.0]
    tags = -(-(1200 + 1485) // 4)
    assert rooms == {-(-tags // 4) * 4 + 600 + 4 * 300}


def test_natural_compression_rounds_to_powers_of_two_without_bias() -> None:
    draws = 400
    one = gradients(1, 1)[0]
    one.append([torch.zeros_like(tensor) for tensor in one[0]])
    values = flat(one[0])
    found = 2 * np.array([flat(tensors) for tensors in exchange("natural", {"seed": 3}, [one] * draws)])
    mantissas, exponents = np.frexp(np.abs(found))
    assert set(np.unique(mantissas)) == {0.5}
    below = 2.0 ** np.floor(np.log2(np.abs(values)))
    assert (np.abs(found) >= below).all()
    assert (np.abs(found) <= 2 * below).all()
    assert (np.sign(found) == np.sign(values)).all()
    assert exponents.min() < -10
    # A Bernoulli variable between neighbours: a deviation of at most half a gap; five of the mean's over all values.
    scores = (found.mean(axis=0) - values) / (below / 2 / math.sqrt(draws))
    assert np.abs(scores).max() < 5.0


def test_natural_compression_keeps_what_a_byte_cannot_hold_in_range() -> None:
    extremes = torch.zeros(40, 30)
    extremes.view(-1)[:6] = torch.tensor([0.0, -0.0, 2.0**-126, -(2.0**-112), 2.0**16, -(2.0**40)])
    given = [[[extremes, *(torch.zeros_like(t) for t in rank[1:])] for rank in gradients(1, 2)[0]]]
    found = exchange("natural", {"seed": 0}, given)[0][0].view(-1)
    assert found[:6].tolist() == [0.0, 0.0, 0.0, 0.0, 2.0**16, -(2.0**16)]
    assert not found[6:].any()


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("clip_norm", [None, 5.0])
def test_dgc_is_the_reference(nesterov: bool, clip_norm: float | None) -> None:
    # The small tensors are zero here, so that the clipped norm is that of the large ones.
    given = [
        [[*rank[:2], *(torch.zeros_like(t) for t in rank[2:])] for rank in step]
        for step in gradients(STEPS, WORKERS)
    ]
    # A sample of all values gives the exact threshold. Four steps of warm-up, then 0.002.
    options = {"density": 0.002, "warmup_steps": 4, "clip_norm": clip_norm, "sample_fraction": 1.0}
    found = exchange(
        "dgc",
        options,
        given,
        make_optimizer=lambda model: torch.optim.SGD(
            model.parameters(), lr=1.0, momentum=0.9, nesterov=nesterov
        ),
    )
    expected = references.dgc_steps(
        vectors(given),
        list(LARGE),
        densities=[1 / 4, 1 / 16, 1 / 64, 1 / 256, 0.002, 0.002],
        momentum=0.9,
        nesterov=nesterov,
        clip_norm=clip_norm,
    )
    # Up to six roundings a step (norm, clip, momentum, Nesterov, sum) in each of two accumulators.
    assert_close(found, expected, 2 * 6 * STEPS + WORKERS)


def test_dgc_samples_where_a_tensor_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dgc, "SMALLEST_SAMPLE", 100)
    options = {"density": 0.01, "warmup_steps": 0, "clip_norm": None, "sample_fraction": 0.1}
    given = gradients(STEPS, WORKERS)
    averages = exchange("dgc", options, given)
    counts = [sum(int((t != 0).sum()) for t in tensors[:2]) for tensors in averages]
    exact = exchange("dgc", {**options, "sample_fraction": 1.0}, given)
    assert any(not torch.equal(a, b) for a, b in zip(averages[0], exact[0], strict=True)), (
        "nothing was sampled"
    )
    # Never more than the entries that the message has room for, on each rank.
    assert max(counts) <= WORKERS * sum(math.ceil(0.01 * size) for size in LARGE)
    assert min(counts) > 0


@pytest.mark.parametrize("rank", [1, 3])
def test_powersgd_is_the_reference(rank: int) -> None:
    given = gradients(STEPS, WORKERS)
    sizes = [(shape[0], math.prod(shape[1:])) for shape in SHAPES[:2]]
    draws = torch.randn(sum(m * rank for _, m in sizes), generator=torch.Generator().manual_seed(5)).double()
    queries = [
        q.view(rank, m).T.numpy()
        for (_, m), q in zip(sizes, draws.split([m * rank for _, m in sizes]), strict=True)
    ]
    matrices = [
        [[t.double().view(size).numpy() for t, size in zip(r, sizes, strict=False)] for r in step]
        for step in given
    ]
    expected = references.powersgd_steps(matrices, queries)
    found = exchange("powersgd", {"rank": rank, "seed": 5}, given)
    for tensors, reference in zip(found, expected, strict=True):
        for tensor, approximation in zip(tensors, reference, strict=False):
            # Subspace iteration amplifies rounding by the condition of P (here below 100) a step.
            bound = 100 * STEPS * EPSILON * np.abs(approximation).max() * math.sqrt(tensor.numel())
            np.testing.assert_allclose(
                tensor.double().view(approximation.shape).numpy(), approximation, rtol=0, atol=bound
            )


def test_powersgd_of_full_rank_loses_nothing() -> None:
    given = gradients(1, WORKERS)
    found = exchange("powersgd", {"rank": 45, "seed": 0}, given)[0]
    mean = np.mean([flat(rank) for rank in given[0]], axis=0)
    bound = 100 * EPSILON * np.abs(mean).max() * 45
    np.testing.assert_allclose(flat(found), mean, rtol=0, atol=bound)


RANDOM: list[tuple[str, dict[str, Any], int]] = [
    ("terngrad", {"clip_sigmas": None, "seed": 3}, 1),
    ("qsgd", {"levels": 1, "bucket_size": None, "norm": "max", "seed": 3}, 1),
    ("qsgd", {"levels": 7, "bucket_size": 64, "norm": "max", "seed": 3}, 7),
    ("qsgd", {"levels": 127, "bucket_size": 100, "norm": "l2", "seed": 3}, 127),
]


def group_scales(name: str, options: dict[str, Any], rank: list[torch.Tensor]) -> NDArray[np.float64]:
    """The scale of each large value of one rank."""
    values = flat(rank)
    size = options.get("bucket_size")
    bounds = (
        np.cumsum([0, *LARGE]) if size is None else np.append(np.arange(0, len(values), size), len(values))
    )
    order = 2 if options.get("norm") == "l2" else np.inf
    norms = [np.linalg.norm(values[a:b], order) for a, b in pairwise(bounds)]
    return np.repeat(norms, np.diff(bounds))


@pytest.mark.parametrize(
    ("name", "options", "levels"), RANDOM, ids=[f"{entry[0]}{entry[2]}" for entry in RANDOM]
)
def test_random_rounding_is_unbiased_and_goes_to_a_neighbour(
    name: str, options: dict[str, Any], levels: int
) -> None:
    draws = 150
    one = gradients(1, 2)[0]
    found = np.array([flat(tensors) for tensors in exchange(name, options, [one] * draws)])
    mean = np.mean([flat(rank) for rank in one], axis=0)
    scales = [group_scales(name, options, rank) for rank in one]
    if name == "terngrad":
        scales = [np.maximum(*scales)] * 2
    # Each rank's error is below one level, and its variance at most a quarter of that squared.
    widths = np.array(scales) / levels
    assert (np.abs(found - mean) <= widths.mean(axis=0) * (1 + 1e-4)).all()
    # Six standard deviations: one false alarm in 10^8 values. fp32 adds a few roundings of the value.
    deviation = np.sqrt((widths**2 / 4).sum(axis=0)) / 2 / math.sqrt(draws)
    bound = 6 * deviation + 4 * EPSILON * (np.abs(mean) + scales[0] * 2**-8)
    assert (np.abs(found.mean(axis=0) - mean) <= bound).all()
    # All values together see a far smaller bias, of the sign (rounding down) or of the magnitude (towards zero).
    errors = (found.mean(axis=0) - mean) / widths.mean(axis=0)
    bound_of_mean = 6 * 0.5 / math.sqrt(draws * errors.size) + levels * 2.0**-16
    assert abs(errors.mean()) <= bound_of_mean
    assert abs((errors * np.sign(mean)).mean()) <= bound_of_mean
    # And random it is: the draws differ from step to step, and between the ranks.
    assert len(np.unique(found, axis=0)) == draws


def test_ranks_draw_independently() -> None:
    one = gradients(1, 1)[0][0]
    options = {"levels": 1, "bucket_size": None, "norm": "max", "seed": 0}
    average = flat(exchange("qsgd", options, [[one, one]])[0])
    # Of two equal gradients the same draws would make the same ternary numbers: never half a scale.
    halves = np.abs(average / group_scales("qsgd", options, one))
    assert np.isclose(halves, 0.5).any()


def test_terngrad_sends_three_values_of_the_clipped_shared_scale() -> None:
    given = gradients(4, WORKERS)
    for step, tensors in zip(
        given, exchange("terngrad", {"clip_sigmas": 2.5, "seed": 0}, given), strict=True
    ):
        for number in range(2):
            values = [rank[number].double().numpy() for rank in step]
            scale = max(np.minimum(np.abs(v).max(), 2.5 * v.std()) for v in values)
            thirds = tensors[number].double().numpy() * WORKERS / scale
            # Sums of three ternary numbers, up to the fp32 rounding of the scale.
            assert np.abs(thirds - np.round(thirds)).max() < 16 * EPSILON
            assert set(np.unique(np.round(thirds))) <= {-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0}
            assert scale < max(np.abs(v).max() for v in values), "the heavy tail is clipped"


def test_qsgd_sends_levels_of_the_bucket() -> None:
    given = gradients(1, 2)
    options = {"levels": 3, "bucket_size": 50, "norm": "max", "seed": 0}
    # Rank 1 sends zeros: the average is half of what rank 0 sent.
    given[0][1] = [torch.zeros_like(t) for t in given[0][1]]
    sent = flat(exchange("qsgd", options, given)[0]) * 2
    levels = sent * 3 / group_scales("qsgd", options, given[0][0])
    assert np.abs(levels - np.round(levels)).max() < 16 * EPSILON * 3
    assert set(np.unique(np.round(levels))) == {-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0}


def test_models_without_large_tensors_travel_whole() -> None:
    for name, options in (
        ("topk", {"density": 0.1}),
        ("signsgd", {}),
        ("terngrad", {"clip_sigmas": 2.5, "seed": 0}),
    ):

        def work(collectives: Any, name: str = name, options: dict[str, Any] = options) -> torch.Tensor:
            model = Tensors(((5,), (3, 2)))
            strategy = build(name, **options)
            strategy.attach(
                model, torch.optim.SGD(model.parameters(), lr=1.0), Channel(collectives=collectives)
            )
            for parameter in model.parameters():
                parameter.grad = torch.full_like(parameter, float(collectives.rank))
            strategy.wait()
            return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

        assert torch.equal(run_workers(2, work)[0], torch.full((11,), 0.5)), name
