"""The policy of `auto`: what it chooses on which link, and that the choice changes nothing but the format."""

from functools import partial
from typing import Any

import pytest
import torch

from horovod_gq import GQConfig
from horovod_gq.exchange import Exchange, QuantizedExchange
from pipelines.parallel import policy
from pipelines.parallel.policy import Cost, agree, choose, fit, measure
from pipelines.parallel.strategies import auto
from pipelines.parallel.strategies.auto import Auto
from pipelines.parallel.virtual import run_workers
from tests.unit.parallel.compressors import Tensors, build, gradients

OPTIONS = {"wire_bits": [4, 8], "measured_steps": 2}
FORMATS = ["none", "fp16", "gq8", "gq4"]
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
    assert choose(COSTS, FORMATS, num_values) == expected


def test_of_equal_formats_the_least_lossy_is_chosen() -> None:
    assert choose(dict.fromkeys(FORMATS, Cost(1.0, 1.0)), FORMATS, 10) == "none"


def test_a_line_through_two_measurements() -> None:
    cost = fit((100, 3.0), (300, 7.0))
    assert (cost.fixed_seconds, cost.seconds_per_value, cost.of(1000)) == (1.0, 0.02, 21.0)
    # One size, a larger message that was faster, and one that rose too steeply: proportional to the larger.
    for few in ((300, 6.0), (100, 9.0), (100, 1.0)):
        assert fit(few, (300, 6.0)) == Cost(0.0, 0.02)


def run(monkeypatch: pytest.MonkeyPatch, slow: bool, steps: int = 8) -> tuple[list[str], list[torch.Tensor]]:
    """Train on a link of chosen speed; the choice and the parameters of rank 0."""
    # The compilation is tested with the plugin.
    monkeypatch.setattr(auto, "GQConfig", partial(GQConfig, compile_kernels=False))

    def timed(exchange: Exchange, gradients: list[torch.Tensor], device: torch.device) -> float:
        if isinstance(exchange, QuantizedExchange):
            return 4.0 + exchange.bytes_per_step * 1e-9
        return 9.0 if slow else 1.0

    # Rank 0 measures nothing, rank 1 twice as much: only the mean may count.
    monkeypatch.setattr(auto, "measure", timed)
    monkeypatch.setattr(
        auto, "agree", lambda times, link, device: agree([t * 2 * link.rank for t in times], link, device)
    )

    def work(collectives: Any) -> tuple[list[str], list[torch.Tensor]]:
        model, strategy = Tensors(), build("auto", **OPTIONS)
        assert isinstance(strategy, Auto)
        optimizer = strategy.attach(
            model, torch.optim.SGD(model.parameters(), lr=1.0), collectives=collectives
        )
        for step in gradients(steps, 2):
            optimizer.zero_grad()
            loss = sum((p * g).sum() for p, g in zip(model.parameters(), step[collectives.rank], strict=True))
            assert isinstance(loss, torch.Tensor)
            loss.backward()
            strategy.wait()
            strategy.update()
        return strategy.choices, [p.detach().clone() for p in model.parameters()]

    first, second = run_workers(2, work)
    assert first[0] == second[0]
    assert all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))
    return first


def test_workers_agree_and_apply_the_averages(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = [
        -sum(
            (a + b) / 2
            for a, b in zip(*([step[r][n] for step in gradients(8, 2)] for r in (0, 1)), strict=True)
        )
        for n in range(4)
    ]
    fast, parameters = run(monkeypatch, slow=False)
    assert fast == ["none", "none"]
    for found, expected in zip(parameters, exact, strict=True):
        # Eight sums in another order.
        torch.testing.assert_close(
            found, expected, rtol=0, atol=8 * 1.2e-7 * float(torch.as_tensor(expected).abs().max())
        )
    slow, parameters = run(monkeypatch, slow=True)
    assert slow == ["none", "gq4"], "the small tensors come last, so their bucket is complete first"
    # Lossy by now, yet error feedback keeps the sum near; the small tensors are exact.
    assert not torch.equal(parameters[0], torch.as_tensor(exact[0]))
    assert float((parameters[0] - exact[0]).norm() / torch.as_tensor(exact[0]).norm()) < 0.5
    torch.testing.assert_close(
        parameters[2], exact[2], rtol=0, atol=8 * 1.2e-7 * float(torch.as_tensor(exact[2]).abs().max())
    )


def test_a_resumed_choice_continues_with_its_residuals(monkeypatch: pytest.MonkeyPatch) -> None:
    _, straight = run(monkeypatch, slow=True)
    given = gradients(8, 2)

    def work(collectives: Any) -> list[torch.Tensor]:
        state, weights = None, None
        for steps in (given[:5], given[5:]):
            model, strategy = Tensors(), build("auto", **OPTIONS)
            optimizer = strategy.attach(
                model, torch.optim.SGD(model.parameters(), lr=1.0), collectives=collectives
            )
            if state is not None and weights is not None:
                model.load_state_dict(weights)
                strategy.load_state_dict(state)
            for step in steps:
                optimizer.zero_grad()
                for parameter, gradient in zip(model.parameters(), step[collectives.rank], strict=True):
                    (parameter * gradient).sum().backward()
                strategy.wait()
                strategy.update()
            state, weights = strategy.state_dict(), model.state_dict()
        return list(model.parameters())

    for found, expected in zip(run_workers(2, work)[0], straight, strict=True):
        assert torch.equal(found, expected)


class SlowExchange:
    """An exchange that takes a known time."""

    flat = torch.zeros(1000)
    views = (flat,)

    def start(self, slot: int) -> None:
        policy.time.sleep(0.002)

    def advance(self, slot: int) -> None:
        pass

    def finish(self, slot: int) -> None:
        policy.time.sleep(0.003)


def test_the_time_is_that_of_start_and_finish() -> None:
    exchange: Any = SlowExchange()
    assert measure(exchange, [torch.ones(1000)], torch.device("cpu")) >= 0.005


def test_the_workers_agree_on_the_mean() -> None:
    found = run_workers(3, lambda link: agree([1.0 * link.rank, 5.0], link, torch.device("cpu")))
    assert found == [[1.0, 5.0]] * 3
