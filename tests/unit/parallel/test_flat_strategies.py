"""What the strategies with a flat gradient vector share: residuals, small tensors, mistakes, one worker, staleness."""

from typing import Any

import pytest
import torch

from pipelines.errors import UserError
from pipelines.parallel.compression.flat_gradients import FlatGradients
from pipelines.parallel.compression.momentum_correction import LocalMomentum
from pipelines.parallel.strategies.bases.gathered import FeedbackStrategy
from pipelines.parallel.strategies.dgc import Dgc
from pipelines.parallel.strategies.powersgd import Powersgd, orthonormalize
from pipelines.parallel.strategy import Channel, Strategy
from pipelines.parallel.virtual_cluster import run_workers
from tests.unit.parallel.compressors import SHAPES, Tensors, build, exchange, gradients

OPTIONS: dict[str, dict[str, Any]] = {
    "topk": {"density": 0.05},
    "signsgd": {},
    "efsignsgd": {},
    "signum": {"magnitude": 0.5},
    "onebit": {},
    "natural": {"seed": 0},
    "threshold": {"threshold": 0.5, "expected_density": 0.1},
    "randomk": {"density": 0.05, "seed": 0},
    "u8bit": {},
    "adaq": {"density": 0.05},
    "sketch": {"bits": 4},
    "inceptionn": {"bound_bits": 10, "expected_bits": 8},
    "dgc": {"density": 0.05, "warmup_steps": 0, "clip_norm": None, "sample_fraction": 1.0},
    "powersgd": {"rank": 2, "seed": 0},
    "terngrad": {"clip_sigmas": 2.5, "seed": 0},
    "qsgd": {"levels": 7, "bucket_size": 100, "norm": "max", "seed": 0},
    "ssp": {"staleness": 2},
}
PEERS = [name for name in OPTIONS if name != "ssp"]
STATELESS = ("u8bit", "sketch", "inceptionn")


def attached(name: str, collectives: Any) -> tuple[Tensors, Strategy, torch.optim.Optimizer]:
    model, strategy = Tensors(), build(name, **OPTIONS[name])
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    return model, strategy, strategy.attach(model, optimizer, Channel(collectives=collectives))


def set_gradients(model: Tensors, tensors: list[torch.Tensor]) -> None:
    for parameter, gradient in zip(model.parameters(), tensors, strict=True):
        parameter.grad = gradient.clone()


@pytest.mark.parametrize("name", ["topk", "signsgd", "efsignsgd", "onebit", "adaq"])
def test_residual_is_exactly_what_was_not_sent(name: str) -> None:
    def work(collectives: Any) -> None:
        _, strategy, _ = attached(name, collectives)
        assert isinstance(strategy, FeedbackStrategy)
        generator = torch.Generator().manual_seed(collectives.rank)
        for _ in range(5):
            gradient = torch.randn(strategy.residual.shape, generator=generator)
            total = strategy.residual + gradient
            payload = strategy.encode(gradient)
            sent = torch.empty_like(total)
            strategy.decode(payload[None], sent)
            # The same fp32 subtraction: bit for bit. For top-k every value is in one of the two.
            assert torch.equal(strategy.residual, total - sent)
            assert torch.equal(strategy.residual + sent, total) or name != "topk"
            assert strategy.residual.any()
            assert sent.any()

    run_workers(2, work)


def test_powersgd_residual_is_exactly_what_was_not_applied() -> None:
    given = gradients(4, 2)
    state: dict[int, torch.Tensor] = {}

    def work(collectives: Any) -> None:
        model, strategy, _ = attached("powersgd", collectives)
        assert isinstance(strategy, Powersgd)
        for step in given:
            mine = step[collectives.rank]
            total = torch.cat([t.flatten() for t in mine[:2]]) + strategy.residual
            set_gradients(model, mine)
            strategy.wait()
            assert torch.equal(strategy.residual, total - strategy.gradients.large)
        state[collectives.rank] = strategy.residual

    run_workers(2, work)
    assert not torch.equal(state[0], state[1])


@pytest.mark.parametrize("first", [0.0, 1.0], ids=["zero", "rank 1"])
def test_powersgd_recovers_full_rank_after_a_step_of_lower_rank(first: float) -> None:
    """Q keeps no zero column: the next gradient, of rank 2, is kept whole, on all workers alike."""
    generator = torch.Generator().manual_seed(0)
    deficient = [torch.full(shape, first) for shape in SHAPES]
    full = [torch.zeros(shape) for shape in SHAPES]
    for tensor in full[:2]:
        matrix = tensor.view(tensor.shape[0], -1)
        for _ in range(2):
            matrix += torch.outer(*(torch.randn(size, generator=generator) for size in matrix.shape))
    found = exchange("powersgd", OPTIONS["powersgd"], [[deficient] * 2, [full] * 2])[1]
    for average, gradient in zip(found[:2], full[:2], strict=True):
        # Sums of up to 45 products in fp32; random columns are never orthogonal, which costs up to one digit.
        torch.testing.assert_close(average, gradient, rtol=0, atol=450 * 1.2e-7 * float(gradient.abs().max()))


def test_powersgd_draws_the_same_columns_after_a_resume() -> None:
    zeros, given = [torch.zeros(shape) for shape in SHAPES], gradients(1, 2)[0]

    def work(collectives: Any) -> None:
        model, strategy, _ = attached("powersgd", collectives)
        set_gradients(model, zeros)
        strategy.wait()
        resumed, other, _ = attached("powersgd", collectives)
        other.load_state_dict(strategy.state_dict())
        for mine, owner in ((model, strategy), (resumed, other)):
            for step in (zeros, given[collectives.rank]):
                set_gradients(mine, step)
                owner.wait()
        averages = [[p.grad for p in owner.parameters()] for owner in (model, resumed)]
        assert all(torch.equal(a, b) for a, b in zip(*averages, strict=True))

    run_workers(2, work)


def test_dgc_loses_nothing_and_masks_what_it_sent() -> None:
    def work(collectives: Any) -> None:
        model, strategy, optimizer = attached("dgc", collectives)
        assert isinstance(strategy, Dgc)
        assert optimizer.param_groups[0]["momentum"] == 0.0, "the momentum acts once"
        for step in gradients(4, 2):
            mine = step[collectives.rank]
            large = torch.cat([t.flatten() for t in mine[:2]])
            velocity = strategy.momentum.large_velocity * 0.9 + large
            total = strategy.accumulated + velocity
            set_gradients(model, mine)
            strategy.gradients.collect()
            payload = strategy.encode(strategy.gradients.large)
            sent = torch.empty_like(total)
            strategy.decode(payload[None], sent)
            assert torch.equal(strategy.accumulated, torch.where(sent != 0, 0.0, total))
            assert torch.equal(strategy.momentum.large_velocity, torch.where(sent != 0, 0.0, velocity))
            assert torch.equal(sent, torch.where(sent != 0, total, 0.0))

    run_workers(2, work)


@pytest.mark.parametrize("name", PEERS)
def test_small_tensors_are_averaged_in_fp32(name: str) -> None:
    for step, averages in zip(given := gradients(2, 2), exchange(name, OPTIONS[name], given), strict=True):
        for number in (2, 3):
            assert torch.equal(averages[number], (step[0][number] + step[1][number]) / 2)


@pytest.mark.parametrize("name", PEERS)
def test_zero_gradients_stay_zero(name: str) -> None:
    zeros = [[[torch.zeros_like(t) for t in rank] for rank in step] for step in gradients(2, 2)]
    # The sign of zero is sent, at the scale 0.
    assert all(
        not t.any() and t.isfinite().all() for step in exchange(name, OPTIONS[name], zeros) for t in step
    )


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("tensor", [0, 2])
def test_a_gradient_that_is_not_finite_stops_every_worker(name: str, bad: float, tensor: int) -> None:
    given = gradients(3, 2)
    given[0][1][tensor].view(-1)[3] = bad
    messages = []

    def work(collectives: Any) -> None:
        model, strategy, _ = attached(name, collectives)

        def steps() -> None:
            for step in given:
                set_gradients(model, step[collectives.rank])
                strategy.wait()

        with pytest.raises(UserError) as caught:
            steps()
        messages.append(str(caught.value))

    run_workers(2, work)
    assert len(messages) == 2
    assert all("not finite on at least one worker; lower recipe.learning_rate" in m for m in messages)


@pytest.mark.parametrize("name", OPTIONS)
def test_one_worker_exchanges_nothing(name: str) -> None:
    def work(collectives: Any) -> None:
        model, strategy, optimizer = attached(name, collectives)
        given = gradients(1, 1)[0][0]
        set_gradients(model, given)
        strategy.wait()
        assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), given, strict=True))
        strategy.update()
        assert all(torch.equal(p, -g) for p, g in zip(model.parameters(), given, strict=True))
        assert strategy.step_cost().wire_bytes == 0
        assert optimizer.param_groups[0]["momentum"] == 0.9
        strategy.flush()
        strategy.load_state_dict(strategy.state_dict())

    run_workers(1, work)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in STATELESS])
def test_a_state_of_another_model_is_refused(name: str) -> None:
    def work(collectives: Any) -> None:
        model, strategy, _ = attached(name, collectives)
        set_gradients(model, gradients(1, 2)[0][collectives.rank])
        strategy.wait()
        state = strategy.state_dict()
        assert state
        other = Tensors(((64, 32), (8,)))
        foreign = build(name, **OPTIONS[name])
        foreign.attach(other, torch.optim.SGD(other.parameters(), lr=1.0), Channel(collectives=collectives))
        if name in (
            "terngrad",
            "qsgd",
            "natural",
        ):  # a generator fits every model; a state without it does not
            state = {}
        with pytest.raises(ValueError, match=r"the state'?s? "):
            foreign.load_state_dict(state)

    run_workers(2, work)


def test_ssp_applies_each_sum_late_by_its_staleness_and_flush_the_rest() -> None:
    given = gradients(5, 2)
    means = [[(a + b) / 2 for a, b in zip(*step, strict=True)] for step in given]

    def work(collectives: Any) -> None:
        model = Tensors()
        strategy = build("ssp", staleness=2)
        strategy.attach(model, torch.optim.SGD(model.parameters(), lr=1.0), Channel(collectives=collectives))
        expected = [torch.zeros_like(p) for p in model.parameters()]
        for number, step in enumerate(given):
            set_gradients(model, step[collectives.rank])
            strategy.wait()
            strategy.update()
            if number >= 2:
                expected = [e - m for e, m in zip(expected, means[number - 2], strict=True)]
            assert all(torch.equal(p, e) for p, e in zip(model.parameters(), expected, strict=True)), number
        strategy.flush()
        for mean in means[3:]:
            expected = [e - m for e, m in zip(expected, mean, strict=True)]
        assert all(torch.equal(p, e) for p, e in zip(model.parameters(), expected, strict=True))
        strategy.flush()  # nothing is left
        assert all(torch.equal(p, e) for p, e in zip(model.parameters(), expected, strict=True))

    run_workers(2, work)


@pytest.mark.parametrize("nesterov", [False, True])
def test_local_momentum_is_that_of_sgd(nesterov: bool) -> None:
    torch.manual_seed(0)
    shapes = ((3, 4), (5,), (40, 30))
    reference, model = Tensors(shapes), Tensors(shapes)
    for a, b in zip(reference.parameters(), model.parameters(), strict=True):
        a.data.normal_()
        b.data.copy_(a.data)

    def optimizer(owner: Tensors) -> torch.optim.Optimizer:
        first, *rest = owner.parameters()
        groups = [{"params": [first], "weight_decay": 0.1}, {"params": rest, "lr": 0.05}]
        return torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.01)

    ours, theirs = optimizer(model), optimizer(reference)
    flat = FlatGradients(model)
    momentum = LocalMomentum(ours, flat)
    for _ in range(4):
        for a, b in zip(reference.parameters(), model.parameters(), strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        theirs.step()
        flat.collect()
        momentum.correct()
        flat.release()
        ours.step()
    for a, b in zip(reference.parameters(), model.parameters(), strict=True):
        # The same operations in fp32, in an order that differs by fused multiply-adds at most.
        torch.testing.assert_close(b, a, rtol=0, atol=4 * 8 * 1.2e-7 * float(a.detach().abs().max() + 4))


def test_dgc_needs_sgd() -> None:
    def work(collectives: Any) -> None:
        model = Tensors()
        with pytest.raises(UserError, match="momentum correction needs SGD, not Adam"):
            build("dgc", **OPTIONS["dgc"]).attach(
                model, torch.optim.Adam(model.parameters()), Channel(collectives=collectives)
            )

    run_workers(2, work)


def test_orthonormal_columns_and_dependent_ones_are_dropped() -> None:
    columns = torch.randn(3, 20, 4, generator=torch.Generator().manual_seed(1))
    columns[1, :, 2] = 2 * columns[1, :, 0] - columns[1, :, 1]
    columns[2].zero_()
    orthonormalize(columns)
    gram = columns.mT @ columns
    expected = torch.eye(4).repeat(3, 1, 1)
    expected[1, 2, 2] = 0.0
    expected[2] = 0.0
    # Sums of 20 products in fp32.
    torch.testing.assert_close(gram, expected, rtol=0, atol=20 * 1.2e-7 * 2)
