"""What lossy formats have not delivered of the gradients after some steps: the error of `auto`'s accuracy guard.

Run: python -m benchmarks.delivery [--model densenet22] [--data FOLDER] [--workers 2]

Trains a model on virtual workers, once by each format, and prints the errors that `pipelines.parallel.formats.guard`
measures. They are shares, not times: other work of the machine changes nothing. Without a folder of prepared data
(`python -m stages.convergence.prepare --data cifar10` writes data/convergence/cifar10) it takes the digits.
"""

import argparse
import copy
from pathlib import Path
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from horovod_gq import DistributedOptimizer, GQConfig
from horovod_gq.collectives import Collectives
from pipelines.config import load_section
from pipelines.data import load_prepared
from pipelines.models import build_model
from pipelines.models.config import DenseNetConfig
from pipelines.parallel.formats.forms import configs_of
from pipelines.parallel.formats.guard import Guard
from pipelines.parallel.formats.pool import Group
from pipelines.parallel.virtual_cluster import run_workers

STEPS = (4, 8, 16, 32)
WIDTHS, RANKS = (8, 4, 3, 2), (8, 4, 2, 1)


class Images(NamedTuple):
    """Images float32 [n, c, h, w], normalised, and their labels int64 [n], of `classes` classes."""

    inputs: torch.Tensor
    labels: torch.Tensor
    classes: int


def load_images(folder: Path | None) -> Images:
    """Return the digits, or the training part of prepared data."""
    if folder is None:
        digits = load_digits()
        inputs = torch.tensor(digits.images, dtype=torch.float32).div_(16.0).unsqueeze_(1)
        return Images(inputs, torch.tensor(digits.target), 10)
    data = load_prepared(folder)
    shape = (1, data.num_channels, 1, 1)
    mean, std = torch.tensor(data.mean).view(shape), torch.tensor(data.std).view(shape)
    return Images((data.train.images / 255 - mean) / std, data.train.labels, data.num_classes)


def errors_of(
    name: str,
    config: GQConfig,
    first: nn.Module,
    images: Images,
    arguments: argparse.Namespace,
    link: Collectives,
) -> list[float]:
    """Train a copy of `first`; return the error after each of `STEPS` steps (a collective)."""
    model = copy.deepcopy(first).train()
    sgd = torch.optim.SGD(model.parameters(), lr=arguments.learning_rate, momentum=0.9, nesterov=True)
    optimizer = DistributedOptimizer(sgd, model, config, collectives=link)
    members = [(n, p) for n, p in model.named_parameters() if not config.is_small(tuple(p.shape))]
    group = Group([n for n, _ in members], [p for _, p in members], small=False)
    guards = [Guard([name], [group], max_error=1.0, steps=steps) for steps in STEPS]
    draws = torch.Generator().manual_seed(arguments.seed)
    for _ in range(max(STEPS)):
        chosen = torch.randint(0, len(images.labels), (arguments.batch_size * link.workers,), generator=draws)
        mine = chosen[link.rank :: link.workers]
        optimizer.zero_grad()
        cross_entropy(model(images.inputs[mine]), images.labels[mine]).backward()  # type: ignore[no-untyped-call]
        optimizer.synchronize()
        for guard in guards:
            if guard.current is not None and guard.record():
                states = optimizer.state_dict()["gq"]["tensors"]
                guard.judge({member: state["residual"] for member, state in states.items()}, link)
        optimizer.step()
    return [guard.errors[name] for guard in guards]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="densenet22")
    parser.add_argument("--data", type=Path, help="folder of prepared data (default: the digits)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32, help="images a worker and step")
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    densenet = load_section(DenseNetConfig, "densenet", Path("params.yaml"))
    images = load_images(arguments.data)
    model = build_model(
        arguments.model,
        num_channels=images.inputs.shape[1],
        num_classes=images.classes,
        image_size=images.inputs.shape[-1],
        densenet=densenet,
        seed=arguments.seed,
    )
    print("format  " + "  ".join(f"{steps:>5}" for steps in STEPS) + "  steps")
    for name, config in configs_of(WIDTHS, RANKS, arguments.workers).items():
        errors = run_workers(
            arguments.workers,
            lambda link, name=name, config=config: errors_of(name, config, model, images, arguments, link),  # type: ignore[misc]
        )[0]
        print(f"{name:<6}  " + "  ".join(f"{error:5.2f}" for error in errors), flush=True)


if __name__ == "__main__":
    main()
