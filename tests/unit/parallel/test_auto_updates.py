"""When `auto` updates layer by layer: where that is faster, and only where the model lets it; never another result."""

import copy
import gc
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from horovod_gq import GQConfig
from horovod_gq.updates import LayerwiseUpdate, SynchronousUpdate
from pipelines.parallel.formats import forms, policy, probe
from pipelines.parallel.formats.trial import Trial
from pipelines.parallel.strategies.auto import Auto
from pipelines.parallel.strategy import Channel
from pipelines.parallel.virtual_cluster import run_workers
from tests.configs import SHORT_TRIALS
from tests.unit.parallel.compressors import build

OPTIONS = {"wire_bits": [8], "factor_ranks": [], "small_bits": 8, "max_error": 1.0, **SHORT_TRIALS}
FORMATS = ["none", "fp16", "gq8"]
UPDATES = ["synchronous", "layerwise"]


class Network(nn.Module):
    """Calls its modules, or `directly` uses the weights of the first one."""

    def __init__(self, *, directly: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(40, 60), nn.Linear(60, 30)
        self.directly = directly

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = images @ self.first.weight.T + self.first.bias if self.directly else self.first(images)
        return torch.as_tensor(self.second(hidden.tanh()))


class Run:
    """A training on one of two virtual workers, until some steps after the choice."""

    def __init__(self, collectives: Any, start: Network, steps: int = 5) -> None:
        self.model, strategy = copy.deepcopy(start), build("auto", **OPTIONS)
        assert isinstance(strategy, Auto)
        self.strategy = strategy
        self.optimizer = strategy.attach(
            self.model,
            torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9),
            Channel(collectives=collectives),
        )
        self.layerwise_turns = 0
        generator = torch.Generator().manual_seed(collectives.rank)
        left = steps
        while left:
            self.go_on(torch.randn(8, 40, generator=generator))
            left -= strategy.settled
            self.layerwise_turns += isinstance(strategy.applying, LayerwiseUpdate) and not strategy.settled

    def go_on(self, images: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        self.model(images).square().mean().backward()
        self.strategy.wait()
        self.strategy.update()

    def weights(self) -> list[torch.Tensor]:
        self.strategy.flush()
        return [parameter.detach().clone() for parameter in self.model.parameters()]


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """No compilation: that is tested with the plugin."""
    monkeypatch.setattr(forms, "GQConfig", partial(GQConfig, compile_kernels=False))


@pytest.fixture
def let_win(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make training steps shortest in gq8, in buckets of the usual size, with one of the two updates."""
    monkeypatch.setattr(probe, "measure", lambda *_: (1.0, 0.0))
    monkeypatch.setattr(policy, "worth_trying", lambda costs, *_: list(costs))
    monkeypatch.setattr(policy, "SIZES", ())

    def told(update: str) -> None:
        class Told(Trial):
            def __init__(self, num_plans: int, *args: Any) -> None:
                super().__init__(num_plans, *args)
                self.best = FORMATS.index("gq8") if num_plans == len(FORMATS) else UPDATES.index(update)

            def record(self, seconds: float) -> bool:
                assert seconds > 0.0
                return super().record(1.0 if self.plan == self.best else 2.0)

        monkeypatch.setattr(policy, "Trial", Told)

    return told


def runs(start: Network) -> list[Run]:
    return run_workers(2, lambda collectives: Run(collectives, start))


def test_a_faster_update_layer_by_layer_is_chosen_and_changes_no_bit(let_win: Callable[[str], None]) -> None:
    start = Network()
    let_win("layerwise")
    chosen = runs(start)
    let_win("synchronous")
    usual = runs(start)
    for run in chosen:
        assert isinstance(run.strategy.applying, LayerwiseUpdate)
    for run in usual:
        assert isinstance(run.strategy.applying, SynchronousUpdate)
        assert run.layerwise_turns > 0
    assert chosen[0].strategy.steps == usual[0].strategy.steps
    for run in (*chosen, usual[1]):
        for found, expected in zip(run.weights(), usual[0].weights(), strict=True):
            assert torch.equal(found, expected)


def test_a_model_that_uses_weights_without_their_module_is_never_updated_layer_by_layer(
    let_win: Callable[[str], None],
) -> None:
    let_win("layerwise")
    for run in runs(Network(directly=True)):
        assert run.strategy.settled
        assert run.layerwise_turns == 0
        assert isinstance(run.strategy.applying, SynchronousUpdate)


def test_a_dropped_model_is_gone(let_win: Callable[[str], None]) -> None:
    let_win("layerwise")
    left = [weakref.ref(run.model) for run in runs(Network())]
    gc.collect()
    assert [reference() for reference in left] == [None, None]


def test_a_run_goes_on_layer_by_layer_after_it_was_resumed(let_win: Callable[[str], None]) -> None:
    let_win("layerwise")
    start = Network()

    def work(collectives: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        straight = Run(collectives, start)
        straight.strategy.flush()
        parts = (straight.model, straight.optimizer, straight.strategy)
        states: Any = copy.deepcopy([part.state_dict() for part in parts])
        images = torch.randn(3, 8, 40, generator=torch.Generator().manual_seed(collectives.rank))
        resumed = Run(collectives, start, steps=0)
        for part, state in zip((resumed.model, resumed.optimizer, resumed.strategy), states, strict=True):
            part.load_state_dict(state)
        assert isinstance(resumed.strategy.applying, LayerwiseUpdate)
        for run in (straight, resumed):
            for each in images:
                run.go_on(each)
        return straight.weights(), resumed.weights()

    for straight, resumed in run_workers(2, work):
        for found, expected in zip(resumed, straight, strict=True):
            assert torch.equal(found, expected)
