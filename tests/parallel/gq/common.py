"""A small model and helpers for the two-rank scripts."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import horovod.torch as hvd
import pytest
import torch
from torch import nn


class SmallNet(nn.Module):
    """Convolutions, batch norm, a 1-D bias and odd sizes; 3 x 8 x 8 inputs, 10 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 24, 3, padding=1, stride=2, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 32, 3, padding=1, stride=2, bias=False),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(32 * 4, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


def make_model(seed: int = 0) -> nn.Module:
    """The same small model on every rank."""
    torch.manual_seed(seed)
    return SmallNet()


def make_batch(step: int, rank: int, size: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch that depends on step and rank alone."""
    generator = torch.Generator().manual_seed(1000 * step + rank)
    images = torch.randn(size, 3, 8, 8, generator=generator)
    # Labels that a linear rule of the images gives: something to learn.
    labels = images[:, :, :, :].mean((2, 3)).argmax(1) + 3 * (images.mean((1, 2, 3)) > 0)
    return images, labels


def loss_of(model: nn.Module, step: int, rank: int) -> torch.Tensor:
    images, labels = make_batch(step, rank)
    return nn.functional.cross_entropy(model(images), labels)


def weights(model: nn.Module) -> torch.Tensor:
    """All parameters in one vector."""
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def assert_same_on_all_ranks(tensor: torch.Tensor, what: str) -> None:
    """Bitwise equality over the ranks."""
    gathered = hvd.allgather(tensor.contiguous().view(1, -1), name=f"check.{what}")
    for rank in range(hvd.size()):
        assert torch.equal(gathered[rank], gathered[0]), f"{what} differs between rank 0 and {rank}"


def expect_error(run: Callable[[], object], fragment: str, kind: type[Exception] = ValueError) -> None:
    """`run` must raise `kind` with `fragment` in its message."""
    with pytest.raises(kind) as raised:
        run()
    assert fragment in str(raised.value), f"{fragment!r} not in {raised.value}"


def spoil_gradient(model: nn.Module, name: str, value: float) -> None:
    """Put one bad value into the gradient of the named parameter, from now on."""
    dict(model.named_parameters())[name].register_hook(
        lambda gradient: gradient.flatten().index_fill(0, torch.tensor([3]), value).view_as(gradient)
    )


def run_checks(checks: list[Callable[[], None]]) -> None:
    """Run every check on all ranks; any failure on any rank fails them all."""
    hvd.init()
    assert checks
    assert hvd.size() > 1, "one rank never compresses, so it proves nothing"
    torch.set_num_threads(1)
    for check in checks:
        failure = ""
        try:
            check()
        except Exception:  # noqa: BLE001 - whatever it is, the other ranks must hear of it
            failure = traceback.format_exc()
            print(f"FAILED {check.__name__}\n{failure}", flush=True)
        failed = hvd.allreduce(
            torch.tensor([1.0 if failure else 0.0]), op=hvd.Sum, name=f"end.{check.__name__}"
        )
        if failed.item() > 0:
            raise SystemExit(f"{check.__name__} failed on {int(failed.item())} of {hvd.size()} ranks")
        if hvd.rank() == 0:
            print(f"passed {check.__name__}", flush=True)
    if hvd.rank() == 0:
        print(f"all {len(checks)} checks passed", flush=True)
    hvd.shutdown()
