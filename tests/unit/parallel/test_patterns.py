"""Communication patterns: every registered strategy's bytes against what its own messages weigh."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from horovod_gq import GQConfig
from horovod_gq.buckets import DEFAULT_BUCKET_BYTES
from pipelines.config import load_yaml
from pipelines.parallel.formats import forms
from pipelines.parallel.formats.plans import Plan
from pipelines.parallel.patterns import Apply, Collective, NamedShape, Pattern, Start
from pipelines.parallel.strategies import build_strategy
from pipelines.parallel.strategies.auto import Auto
from pipelines.parallel.strategies.bases import gq_options
from pipelines.parallel.strategy import STRATEGIES, Channel, Strategy
from pipelines.parallel.virtual_cluster import run_workers
from tests.imports import ROOT

PARAMS = ROOT / "params.yaml"
METHODS: dict[str, Any] = load_yaml(PARAMS)["methods"]
STOCK = ("gq4", "gq8")
"""Their messages have no virtual form: they need Horovod's own optimizer."""
STEPS = 5  # dgc's warm-up has four


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """No compilation: that is tested with the plugin, and changes no byte."""
    for module in (gq_options, forms):
        monkeypatch.setattr(module, "GQConfig", partial(GQConfig, compile_kernels=False))


class Net(nn.Module):
    """Tensors of several sizes: small ones, odd ones, and more than one of GQ's buckets."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(37, 63)
        self.norm = nn.BatchNorm1d(63)
        self.wide = nn.Linear(63, 9001)
        self.last = nn.Linear(9001, 11)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.last(self.wide(self.norm(self.first(images))))
        return result


def shapes_of(model: nn.Module) -> list[NamedShape]:
    return [(name, tuple(p.shape)) for name, p in model.named_parameters() if p.requires_grad]


def pattern_of(method: str, workers: int) -> Pattern:
    strategy, _ = build_strategy(method, PARAMS)
    return strategy.pattern(shapes_of(Net()), workers)


def metered_bytes(method: str, workers: int) -> tuple[float, float, Pattern]:
    """Return the payload and the sent bytes of the last whole interval, per step, on rank 0, and the pattern then."""

    def work(link: Any) -> tuple[float, float, Pattern]:
        torch.manual_seed(0)
        model = Net()
        strategy, _ = build_strategy(method, PARAMS)
        if method == "auto":
            strategy.options = type(strategy.options)(**{**vars(strategy.options), "measured_steps": 100})
        optimizer = strategy.attach(
            model, torch.optim.SGD(model.parameters(), lr=1e-6), Channel(collectives=link)
        )
        window = strategy.steps_per_exchange
        for step in range(STEPS * window):
            if step == (STEPS - 1) * window:
                strategy.step_cost()
            optimizer.zero_grad()
            model(torch.ones(4, 37) * torch.arange(4.0)[:, None]).square().mean().backward()
            strategy.wait()
            strategy.update()
        cost = strategy.step_cost()
        strategy.flush()
        return cost.wire_bytes / window, cost.sent_bytes / window, strategy.pattern(shapes_of(model), workers)

    return run_workers(workers, work)[0]


def test_every_registered_strategy_has_a_method_and_so_a_tested_pattern() -> None:
    assert {entry["strategy"] for entry in METHODS.values()} == set(STRATEGIES)


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("method", [method for method in METHODS if method not in STOCK])
def test_a_pattern_has_the_bytes_that_its_strategy_sends(method: str, workers: int) -> None:
    wire, sent, pattern = metered_bytes(method, workers)
    if not STRATEGIES[METHODS[method]["strategy"]].bytes_depend_on_gradients:
        assert pattern == pattern_of(method, workers)
    assert pattern.wire_bytes() == wire
    assert pattern.sent_bytes(workers) == pytest.approx(sent, rel=1e-12)


def test_the_stock_path_has_the_buckets_of_the_fast_one_and_a_placeholder_a_tensor() -> None:
    for stock, fast in (("gq4", "gq4_bucketed"), ("gq8", "gq8_bucketed")):
        count = len(shapes_of(Net()))
        pattern = pattern_of(stock, 2)
        assert pattern.exchanges[count:] == pattern_of(fast, 2).exchanges
        placeholders = pattern.exchanges[:count]
        assert [message.num_bytes for each in placeholders for message in each.rounds] == [4] * count
        assert pattern.one_message_a_tensor


def test_every_tensor_travels_once() -> None:
    for method in METHODS:
        if method in STOCK:
            continue
        members = [number for each in pattern_of(method, 2).exchanges for number in each.tensors]
        assert sorted(members) == list(range(len(shapes_of(Net())))), method


def test_modes() -> None:
    assert pattern_of("gq4_layerwise", 2).apply is Apply.MODULE
    assert pattern_of("gq4_interval", 2).interval == 4
    assert pattern_of("ssp", 2).staleness == 2
    assert pattern_of("gq4_bucketed", 2).start is Start.BACKWARD
    assert pattern_of("topk", 2).start is Start.STEP
    scattered = [Collective.ALL_TO_ALL, Collective.ALL_GATHER]
    rounds = pattern_of("gq4_scatter", 2).exchanges[0].rounds
    assert [message.collective for message in rounds] == scattered
    factors = [each.rounds for each in pattern_of("gq_lowrank_scatter", 2).exchanges]
    # The sums of P, then those of Q; and one of the small tensors, in 8 bits.
    assert sorted([message.collective for message in rounds] for rounds in factors) == sorted(
        [scattered, scattered * 2, scattered * 2, scattered * 2]
    )


def test_auto_chooses_among_the_bytes_of_every_format() -> None:
    strategy, _ = build_strategy("auto", PARAMS)
    assert isinstance(strategy, Auto)
    strategy.options = replace(strategy.options, small_bits=32)
    shapes = shapes_of(Net())
    plain, half, *widths, rank8, rank4 = at_the_end = strategy.alternatives(shapes, 2)[:8]
    assert strategy.alternatives(shapes, 2)[8:] == [
        replace(pattern, apply=Apply.MODULE) for pattern in at_the_end
    ]
    assert widths == [
        pattern_of(name, 2) for name in ("gq16_bucketed", "gq8_bucketed", "gq4_bucketed", "gq3")
    ]
    assert rank4 == pattern_of("gq_lowrank4", 2)
    assert rank4.wire_bytes() < rank8.wire_bytes()
    large = sum(p.numel() for p in Net().parameters() if p.dim() > 1 and p.numel() >= 1024)
    # Nine canary values a message in fp32, none in fp16; the small tensors stay in fp32.
    num_large = len(plain.exchanges) - 1
    assert plain.wire_bytes() - half.wire_bytes() == 2 * large + 36 * num_large
    num_buckets = len(plain.exchanges)
    strategy.options = replace(strategy.options, small_bits=8)
    small8 = pattern_of("gq4_small8", 2)
    assert strategy.alternatives(shapes, 2)[4] == small8
    small = {len(exchange.tensors): place for place, exchange in enumerate(small8.exchanges)}[5]
    formats = ["gq4"] * num_buckets
    formats[small] = "none"
    strategy.plan = Plan(DEFAULT_BUCKET_BYTES, tuple(formats))
    (chosen,) = strategy.alternatives(shapes, 2)
    assert chosen == pattern_of("gq4_bucketed", 2)
    strategy.plan = strategy.plan._replace(layerwise=True)
    assert strategy.alternatives(shapes, 2) == [pattern_of("gq4_layerwise", 2)]


def as_then(shapes: list[NamedShape]) -> list[NamedShape]:
    """Return a model's tensors in the order of the committed sweep: a DenseNet's transitions behind all its blocks."""
    transitions = [each for each in shapes if ".transition." in each[0]]
    others = [each for each in shapes if each not in transitions]
    behind = 1 + max((n for n, (name, _) in enumerate(others) if name.startswith("blocks.")), default=-1)
    return [*others[:behind], *transitions, *others[behind:]]


def test_the_sweep_counted_what_the_patterns_say() -> None:
    """All committed rows: the expected bytes were metered then, and follow from the patterns now."""
    from pipelines.config import load_section
    from pipelines.models import build_model
    from pipelines.models.config import DenseNetConfig

    rows = [
        row for row in json.loads(Path(ROOT / "reference/sweep/sweep.json").read_text()) if row["workers"] > 1
    ]
    densenet = load_section(DenseNetConfig, "densenet", PARAMS)
    shapes = {
        name: shapes_of(
            build_model(name, num_channels=1, num_classes=10, image_size=8, densenet=densenet, seed=1)
        )
        for name in {row["model"] for row in rows}
    }
    for row in rows:
        strategy: Strategy = build_strategy(row["method"], PARAMS)[0]
        if strategy.bytes_depend_on_gradients:
            continue
        if isinstance(strategy, Auto):
            strategy.options = replace(strategy.options, wire_bits=tuple(row["wire_bits"]))  # those of then
            # Rows from before it chose the size of its buckets have the usual one.
            strategy.plan = Plan(row.get("bucket_bytes") or DEFAULT_BUCKET_BYTES, tuple(row["choices"]))
        sent = strategy.pattern(as_then(shapes[row["model"]]), row["workers"]).sent_bytes(row["workers"])
        assert sent == pytest.approx(row["wire_bytes_expected_per_step"], rel=1e-12), row["method"]
    assert len(rows) > 200
