"""The policy of `auto`: what it chooses on which link, and that the choice changes nothing but the format."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch

from horovod_gq import GQConfig
from horovod_gq.buckets import DEFAULT_BUCKET_BYTES
from horovod_gq.exchange import QuantizedExchange
from horovod_gq.timing import Timings
from pipelines.parallel.formats import forms, policy, probe
from pipelines.parallel.formats.costs import Cost, agree, choose, fit, measure, worth_trying
from pipelines.parallel.formats.guard import GUARD_STEPS
from pipelines.parallel.formats.plans import Plan
from pipelines.parallel.formats.trial import FIRST_SETTLING, Trial
from pipelines.parallel.strategies.auto import Auto
from pipelines.parallel.strategy import Channel
from pipelines.parallel.virtual_cluster import run_workers
from tests.configs import SHORT_TRIALS
from tests.unit.parallel.compressors import Tensors, build, gradients

OPTIONS = {
    "wire_bits": [4, 8],
    "factor_ranks": [2],
    "small_bits": 32,
    "max_error": 1.0,
    **SHORT_TRIALS,
    "measured_steps": 2,
}
FORMATS = ["none", "fp16", "gq8", "gq4", "rank2"]
GUARDED = 2 + 3 * GUARD_STEPS
"""Two measured steps, then those that show the errors of three lossy formats."""
SETTLED = GUARDED + len(FORMATS) * (FIRST_SETTLING + 1)
"""And one timed step of each plan."""
NUM_STEPS = SETTLED + 2 * (FIRST_SETTLING + 1) + 6
"""Enough to compare two sizes of bucket, too."""
COSTS = {
    "none": Cost(1e-3, 8e-9),
    "fp16": Cost(2e-3, 4e-9),
    "gq8": Cost(3e-3, 3e-9),
    "gq4": Cost(5e-3, 1e-9),
}


@pytest.mark.parametrize(
    ("num_values", "expected"),
    # By hand, in ms for m million values: none 1 + 8 m, fp16 2 + 4 m, gq8 3 + 3 m, gq4 5 + m.
    [(200_000, "none"), (500_000, "fp16"), (1_100_000, "gq4")],
)
def test_the_cheapest_format_is_chosen(num_values: int, expected: str) -> None:
    assert choose(COSTS, list(COSTS), num_values) == expected


def test_of_equal_formats_the_least_lossy_is_chosen() -> None:
    assert choose(dict.fromkeys(FORMATS, Cost(1.0, 1.0)), FORMATS, 10) == "none"


def test_a_line_through_two_measurements() -> None:
    cost = fit((100, 3.0), (300, 7.0))
    assert (cost.fixed_seconds, cost.seconds_per_value, cost.of(1000)) == (1.0, 0.02, 21.0)
    # One size, a larger message that was faster, and one that rose too steeply: proportional to the larger.
    for few in ((300, 6.0), (100, 9.0), (100, 1.0)):
        assert fit(few, (300, 6.0)) == Cost(0.0, 0.02)


Run = tuple[Auto, list[torch.Tensor]]


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """No compilation: that is tested with the plugin."""
    monkeypatch.setattr(forms, "GQConfig", partial(GQConfig, compile_kernels=False))


def test_formats_that_cannot_win_whatever_hides_are_not_tried() -> None:
    # By hand for two buckets of a million values and 10 ms of computing, in ms; at the longest none 28, the others 22.
    sizes, free = [1_000_000, 1_000_000], dict.fromkeys(FORMATS, Cost(0.0, 0.0))
    assert worth_trying(COSTS, free, sizes, 0.010) == list(COSTS)
    # A tenth of the speed: 172, 94, 76 and 40 at the longest, 50 is allowed; the link alone takes 160, 80, 60 and 20.
    slow = {name: Cost(cost.fixed_seconds, 10 * cost.seconds_per_value) for name, cost in COSTS.items()}
    assert worth_trying(slow, free, sizes, 0.010) == ["gq4"]
    # A codec of 30 ns a value hides behind nothing: 70 where 50 (gq4's 40) is the longest allowed.
    codecs = {**free, "gq8": Cost(0.0, 30e-9)}
    assert worth_trying({**slow, "gq8": Cost(0.0, 31e-9)}, codecs, sizes, 0.010) == ["gq4"]


def let_win(monkeypatch: pytest.MonkeyPatch, winner: str) -> None:
    """Make single exchanges cheapest in gq8, and training steps shortest where large buckets travel as `winner`.

    They differ so little that no format is left out beforehand.
    """
    monkeypatch.setattr(
        probe,
        "measure",
        lambda exchange, *_: (1.0 if isinstance(exchange, QuantizedExchange) else 1.1, 0.0),
    )

    class Told(Trial):
        def __init__(self, num_plans: int, *args: Any) -> None:
            super().__init__(num_plans, *args)
            # The first compares formats, the second the usual size of bucket and another one, the third both updates.
            self.best = FORMATS.index(winner) if num_plans == len(FORMATS) else 1

        def record(self, seconds: float) -> bool:
            assert seconds > 0.0
            return super().record(1.0 if self.plan == self.best else 2.0)

    monkeypatch.setattr(policy, "Trial", Told)
    # Rank 0 measures nothing, rank 1 twice as much: only the mean may count.
    monkeypatch.setattr(
        policy, "agree", lambda times, link, device: agree([t * 2 * link.rank for t in times], link, device)
    )


def attach(collectives: Any) -> tuple[Tensors, Auto, torch.optim.Optimizer]:
    model, strategy = Tensors(), build("auto", **OPTIONS)
    assert isinstance(strategy, Auto)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    return model, strategy, strategy.attach(model, optimizer, Channel(collectives=collectives))


def step(model: Tensors, strategy: Auto, optimizer: Any, given: Any) -> None:
    optimizer.zero_grad()
    for parameter, gradient in zip(model.parameters(), given, strict=True):
        (parameter * gradient).sum().backward()
    strategy.wait()
    strategy.update()


def run(steps: int = NUM_STEPS) -> list[Run]:
    """Train; the strategy and the parameters of both ranks."""

    def work(collectives: Any) -> Run:
        model, strategy, optimizer = attach(collectives)
        for given in gradients(steps, 2):
            step(model, strategy, optimizer, given[collectives.rank])
        return strategy, [p.detach().clone() for p in model.parameters()]

    first, second = run_workers(2, work)
    assert first[0].choices == second[0].choices
    assert all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))
    return [first, second]


def exact(steps: int = NUM_STEPS) -> list[torch.Tensor]:
    """The parameters after the averages of fp32 gradients."""
    return [
        -sum(
            (torch.as_tensor(a + b) / 2 for a, b in ((g[0][n], g[1][n]) for g in gradients(steps, 2))),
            torch.tensor(0.0),
        )
        for n in range(4)
    ]


def rounding(values: torch.Tensor) -> float:
    """Sums in another order, in fp32."""
    return NUM_STEPS * 1.2e-7 * float(values.abs().max())


def tried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Train; return the formats of the plans that rank 0 compared first."""
    compared: list[list[tuple[str, ...]]] = []
    compare = policy.Policy._compare

    def noted(self: policy.Policy, plans: Sequence[Plan]) -> None:
        if self._pool.link.rank == 0:
            compared.append([plan.formats for plan in plans])
        compare(self, plans)

    with monkeypatch.context() as patch:
        patch.setattr(policy.Policy, "_compare", noted)
        run()
    return compared[0]


@pytest.mark.parametrize("winner", FORMATS)
def test_the_shortest_step_decides_not_single_exchanges(monkeypatch: pytest.MonkeyPatch, winner: str) -> None:
    let_win(monkeypatch, winner)
    (strategy, parameters), _ = run()
    assert strategy.settled
    assert strategy.choices == ["none", winner], (
        "the small tensors come last, so their bucket is complete first"
    )
    torch.testing.assert_close(parameters[2], exact()[2], rtol=0, atol=rounding(exact()[2]))


def test_the_choice_is_made_after_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    let_win(monkeypatch, "fp16")
    before, after = run(SETTLED - 1)[0][0], run(SETTLED)[0][0]
    assert (before.settled, after.settled) == (False, True)


def test_a_format_for_each_bucket_is_a_plan_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    let_win(monkeypatch, "fp16")
    monkeypatch.setattr(policy.Policy, "cheapest", lambda *_: Plan(DEFAULT_BUCKET_BYTES, ("gq8", "gq4")))
    # As lossy as its lossiest bucket, and less lossy than that format everywhere.
    uniform = [("none", chosen) for chosen in FORMATS]
    assert tried(monkeypatch) == [*uniform[:3], ("gq8", "gq4"), *uniform[3:]]


def test_a_format_that_delivers_too_little_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random gradients have no low rank: two columns keep a part of them only, and the fastest plan is out."""
    let_win(monkeypatch, "gq4")
    monkeypatch.setitem(OPTIONS, "max_error", 0.4)
    assert tried(monkeypatch) == [("none", chosen) for chosen in FORMATS if chosen != "rank2"]
    guard = run()[0][0].policy.guard
    assert guard is not None
    errors = guard.errors
    assert errors["gq8"] < errors["gq4"] < 0.4 < errors["rank2"] < 1.0
    monkeypatch.setitem(OPTIONS, "max_error", 1e-6)
    assert tried(monkeypatch) == [("none", "none"), ("none", "fp16")]


@pytest.mark.parametrize(("winner", "sizes"), [("none", False), ("gq4", False), ("gq4", True)])
def test_no_gradient_is_lost_when_plans_change(
    monkeypatch: pytest.MonkeyPatch, winner: str, sizes: bool
) -> None:
    let_win(monkeypatch, winner)
    if sizes:
        # Each large tensor alone; by the constant times of single exchanges, small buckets look cheap.
        monkeypatch.setattr(policy, "SIZES", (6000,))
        monkeypatch.setitem(OPTIONS, "small_bits", 8)
    ranks = run()
    strategy = ranks[0][0]
    expected_choices = ["gq8", "gq4", "gq4"] if sizes else ["none", winner]
    assert (strategy.settled, strategy.choices) == (True, expected_choices)
    assert strategy.bucket_bytes == (6000 if sizes else DEFAULT_BUCKET_BYTES)
    left: list[Any] = [strategy.state_dict()["tensors"] for strategy, _ in ranks]
    names = [name for name, _ in Tensors().named_parameters()]
    for name, found, expected, largest in zip(
        names, ranks[0][1], exact(), gradients(NUM_STEPS, 2)[0][0], strict=True
    ):
        residual = (
            sum((tensors[name]["residual"] for tensors in left if name in tensors), torch.tensor(0.0)) / 2
        )
        # Two steps of fp16, each off by half a unit in the last of 11 bits; the largest gradient is below five
        # times the largest of the first step.
        half = 2 * 2**-12 * 5 * float(torch.as_tensor(largest).abs().max())
        torch.testing.assert_close(found - residual, expected, rtol=0, atol=half + rounding(expected))
    assert bool(left[0]) == (winner == "gq4")


def test_a_resumed_choice_continues_with_its_residuals(monkeypatch: pytest.MonkeyPatch) -> None:
    let_win(monkeypatch, "gq4")
    _, straight = run()[0]
    given = gradients(NUM_STEPS, 2)

    def work(collectives: Any) -> list[torch.Tensor]:
        state, weights = None, None
        for steps in (given[:SETTLED], given[SETTLED:]):
            model, strategy, optimizer = attach(collectives)
            if state is not None and weights is not None:
                model.load_state_dict(weights)
                strategy.load_state_dict(state)
            for each in steps:
                step(model, strategy, optimizer, each[collectives.rank])
            state, weights = strategy.state_dict(), model.state_dict()
        return list(model.parameters())

    for found, expected in zip(run_workers(2, work)[0], straight, strict=True):
        assert torch.equal(found, expected)


def test_a_run_resumed_in_the_trial_begins_it_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    let_win(monkeypatch, "gq8")

    def work(collectives: Any) -> list[str]:
        model, strategy, optimizer = attach(collectives)
        for given in gradients(5, 2):
            step(model, strategy, optimizer, given[collectives.rank])
        state = strategy.state_dict()
        assert not state["settled"]
        model, strategy, optimizer = attach(collectives)
        strategy.load_state_dict(state)
        for given in gradients(SETTLED, 2):
            step(model, strategy, optimizer, given[collectives.rank])
        return strategy.choices

    assert run_workers(2, work) == [["none", "gq8"]] * 2


def test_a_width_that_sums_cannot_carry_takes_the_other_exchange() -> None:
    def work(collectives: Any) -> dict[str, str]:
        return {chosen: config.exchange for chosen, config in attach(collectives)[1].pool.configs.items()}

    assert run_workers(2, work)[0] == {"gq4": "allreduce", "gq8": "allreduce", "rank2": "allreduce"}
    scattered = {"gq4": "scatter_reduce_allgather", "gq8": "allreduce", "rank2": "allreduce"}
    assert run_workers(8, work)[0] == scattered


class SlowExchange:
    """An exchange that takes a known time."""

    flat = torch.zeros(1000)
    views = (flat,)

    def start(self, slot: int) -> None:
        time.sleep(0.002)

    def advance(self, slot: int) -> None:
        pass

    def finish(self, slot: int) -> None:
        time.sleep(0.003)


def test_the_time_is_that_of_start_and_finish() -> None:
    exchange: Any = SlowExchange()
    seconds, codec = measure(exchange, [torch.ones(1000)], torch.device("cpu"), Timings(enabled=True))
    assert seconds >= 0.005
    assert codec == 0.0


def test_the_workers_agree_on_the_mean() -> None:
    found = run_workers(3, lambda link: agree([1.0 * link.rank, 5.0], link, torch.device("cpu")))
    assert found == [[1.0, 5.0]] * 3
