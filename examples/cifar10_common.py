"""Data and model of the examples."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
"""Per channel, over CIFAR-10's training images."""


def parse_arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--data", type=Path, help=".npz with x_train [n, 32, 32, 3] uint8 and y_train; else download"
    )
    parser.add_argument("--batch-size", type=int, default=32, help="images per worker and step")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--lr", type=float, default=0.0125, help="learning rate per worker")
    parser.add_argument("--wire-bits", type=int, default=4, choices=(2, 4, 8, 16))
    return parser.parse_args()


def load_cifar10(npz: Path | None) -> torch.utils.data.TensorDataset:
    """Normalised training images [n, 3, 32, 32] and labels, from an .npz file or by torchvision's download."""
    if npz is not None:
        with np.load(npz, allow_pickle=False) as arrays:
            images, labels = arrays["x_train"], arrays["y_train"]
    else:
        from torchvision.datasets import CIFAR10

        dataset = CIFAR10("data", train=True, download=True)
        images, labels = dataset.data, np.array(dataset.targets)
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    normalised = (scaled - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    return torch.utils.data.TensorDataset(normalised, torch.from_numpy(labels).long().flatten())


class SmallNet(nn.Module):
    """Six convolutions with batch norm, 0.6 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for index, width in enumerate((32, 32, 64, 64, 128, 256)):
            stride = 2 if index % 2 else 1
            layers += [nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits [n, 10]."""
        return self.classifier(self.features(images).mean((2, 3)))  # type: ignore[no-any-return]
