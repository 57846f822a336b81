"""The small problem and the methods of the contract tests."""

from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn

from pipelines.config import load_yaml
from pipelines.config.loader import from_mapping
from pipelines.parallel.strategies import STRATEGIES
from pipelines.parallel.strategy import Strategy
from tests.configs import SHORT_TRIALS
from tests.imports import ROOT

OVERRIDES: dict[str, dict[str, Any]] = {
    # A thousandth of 20,000 values teaches nothing in so few steps.
    "topk": {"density": 0.05},
    "dgc": {"density": 0.05, "warmup_steps": 8},
    "randomk": {"density": 0.05},
    # At a rate of 0.01 a value moves by 0.001 a step.
    "signum": {"magnitude": 0.1},
    # The choice must be made before the snapshot, or a resumed run would make it anew.
    "auto": {"wire_bits": [4], "factor_ranks": [], "small_bits": 32, **SHORT_TRIALS},
}
BATCH_SIZE = 32
SNAPSHOT_STEP = 40
"""Step after which a run is saved; a multiple of every averaging interval."""
NUM_STEPS = 48


def methods(params: Path = ROOT / "params.yaml") -> dict[str, dict[str, Any]]:
    """Every entry of the section `methods`, with the overrides of its strategy."""
    entries = load_yaml(params)["methods"]
    return {name: {**entry, **OVERRIDES.get(entry["strategy"], {})} for name, entry in entries.items()}


def build(entry: dict[str, Any]) -> Strategy:
    options = {key: value for key, value in entry.items() if key != "strategy"}
    strategy = STRATEGIES[entry["strategy"]]
    return strategy(from_mapping(strategy.Options, options, f"methods.{entry['strategy']}"))


def make_model(seed: int) -> nn.Module:
    """Convolutions above and below the size that is compressed, batch norm, a bias; 1 x 8 x 8 inputs."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 49, 3, padding=1, stride=2, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(49 * 4, 10),
    )


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)


def load_images() -> tuple[torch.Tensor, torch.Tensor]:
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).div_(16.0).unsqueeze_(1)
    return images, torch.tensor(digits.target)


def batch_of(
    data: tuple[torch.Tensor, torch.Tensor], step: int, rank: int, workers: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch that depends on step and rank alone; ranks take different images."""
    order = torch.randperm(len(data[0]), generator=torch.Generator().manual_seed(step // 20))
    start = (step % 20 * workers + rank) * BATCH_SIZE
    chosen = order[start : start + BATCH_SIZE]
    return data[0][chosen], data[1][chosen]
