"""The policy of `auto`: what it chooses on which link, and that the choice changes nothing but the format."""

from functools import partial
from typing import Any

import pytest
import torch

from horovod_gq import GQConfig
from pipelines.parallel import policy
from pipelines.parallel.policy import Loopback, Speeds, choose, measure_codec, measure_link
from pipelines.parallel.strategies import auto
from pipelines.parallel.strategies.auto import Auto
from pipelines.parallel.virtual import run_workers
from tests.unit.parallel.compressors import Tensors, build, gradients

NUM_VALUES = 1_000_000
NUM_BYTES = {"none": 4 * NUM_VALUES, "fp16": 2 * NUM_VALUES, "gq8": NUM_VALUES, "gq4": NUM_VALUES // 2}
CODEC_SECONDS = {"none": 1e-9, "fp16": 1.5e-9, "gq8": 3e-9, "gq4": 4.4e-9}
OPTIONS = {"wire_bits": [4, 8], "measured_steps": 2}


@pytest.mark.parametrize(
    ("bytes_per_second", "expected"),
    # By hand, in ns a value: none 1 + 4 t, fp16 1.5 + 2 t, gq8 3 + t, gq4 4.4 + t / 2, with t ns a byte.
    [(1e12, "none"), (3e9, "fp16"), (0.5e9, "gq8"), (12.5e6, "gq4")],
)
def test_the_cheapest_format_is_chosen(bytes_per_second: float, expected: str) -> None:
    assert choose(Speeds(1e-4, 1 / bytes_per_second, CODEC_SECONDS), NUM_VALUES, NUM_BYTES) == expected


def test_of_equal_formats_the_least_lossy_is_chosen() -> None:
    assert choose(Speeds(0.0, 0.0, dict.fromkeys(NUM_BYTES, 0.0)), NUM_VALUES, NUM_BYTES) == "none"


def run(
    monkeypatch: pytest.MonkeyPatch, per_byte: float, steps: int = 8
) -> tuple[list[str], list[torch.Tensor]]:
    """Train on a link of chosen speed; the choice and the parameters of rank 0."""
    # The compilation is tested with the plugin.
    monkeypatch.setattr(auto, "GQConfig", partial(GQConfig, compile_kernels=False))
    # Each worker measures something else; only the average may count.
    monkeypatch.setattr(auto, "measure_codec", lambda exchange, device: 1e-9)
    monkeypatch.setattr(
        auto, "measure_link", lambda collectives, device: (1e-4, 2 * per_byte * collectives.rank)
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
        assert strategy.speeds is not None
        assert strategy.speeds.seconds_per_byte == pytest.approx(per_byte)
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
    fast, parameters = run(monkeypatch, per_byte=0.0)
    assert fast == ["none", "none"]
    for found, expected in zip(parameters, exact, strict=True):
        # Eight sums in another order.
        torch.testing.assert_close(
            found, expected, rtol=0, atol=8 * 1.2e-7 * float(torch.as_tensor(expected).abs().max())
        )
    slow, parameters = run(monkeypatch, per_byte=1e-7)
    assert slow == ["none", "gq4"], "the small tensors come last, so their bucket is complete first"
    # Lossy by now, yet error feedback keeps the sum near; the small tensors are exact.
    assert not torch.equal(parameters[0], torch.as_tensor(exact[0]))
    assert float((parameters[0] - exact[0]).norm() / torch.as_tensor(exact[0]).norm()) < 0.5
    torch.testing.assert_close(
        parameters[2], exact[2], rtol=0, atol=8 * 1.2e-7 * float(torch.as_tensor(exact[2]).abs().max())
    )


def test_a_resumed_choice_continues_with_its_residuals(monkeypatch: pytest.MonkeyPatch) -> None:
    _, straight = run(monkeypatch, per_byte=1e-7)
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


def test_measurements_are_sane() -> None:
    def work(collectives: Any) -> None:
        latency, per_byte = measure_link(collectives, torch.device("cpu"))
        assert latency > 0.0
        assert 0.0 <= per_byte < 1e-6, "a megabyte in less than a second"

    run_workers(2, work)


class SlowCodec:
    """An exchange that takes a known time."""

    flat = torch.zeros(1000)
    views = (flat,)

    def start(self, slot: int) -> None:
        policy.time.sleep(0.002)

    def advance(self, slot: int) -> None:
        pass

    def finish(self, slot: int) -> None:
        policy.time.sleep(0.003)


def test_codec_time_is_that_of_encode_and_decode() -> None:
    seconds: Any = measure_codec(SlowCodec(), torch.device("cpu"))  # type: ignore[arg-type]
    assert seconds * 1000 >= 0.005


def test_loopback_is_a_world_of_equals() -> None:
    loopback = Loopback(3)
    tensor = torch.tensor([[1.0], [2.0], [3.0]])
    assert loopback.start_all_gather(tensor, "").wait().shape == (3, 3, 1)
    assert loopback.start_all_to_all(tensor, "").wait().tolist() == [[1.0]] * 3
    assert loopback.start_sum(tensor, "").wait().tolist() == [[3.0], [6.0], [9.0]]
