"""Networks for degraded images: with an estimator of the degradation, behind a restoration, scaled by the parameter.

After the description of Endo, Tanaka and Okutomi 2020 (Electronic Imaging). Shape suffixes: b images, c their channels,
h rows, w columns, k classes.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def estimator(num_channels: int, depth: int, width: int) -> nn.Sequential:
    """Return a network of `depth` 3 x 3 convolutions that gives one number an image, [b, 1].

    Each convolution has `width` channels, batch normalisation and ReLU; then the average over all pixels and a linear
    layer.
    """
    layers: list[nn.Module] = []
    for index in range(depth):
        inputs = num_channels if index == 0 else width
        layers += [
            nn.Conv2d(inputs, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 1))


class Restorer(nn.Module):
    """`depth` 3 x 3 convolutions of `width` channels that add a correction to the image, none at first."""

    def __init__(self, num_channels: int, depth: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(depth - 1):
            layers += [nn.Conv2d(num_channels if index == 0 else width, width, 3, padding=1), nn.ReLU()]
        last = nn.Conv2d(width, num_channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        self.correction = nn.Sequential(*layers, last)

    def forward(self, images: Tensor) -> Tensor:
        """Return the restored images, [b, c, h, w]."""
        return images + self.correction(images)  # type: ignore[no-any-return]


class Fronted(nn.Module):
    """A classifier behind a network of another task, which is trained beside it by a target in the data.

    The classifier reads `combine(images, front(images))`. Its loss does not reach the front, so that this one learns
    its task alone. Only the first `num_channels` channels are read; those behind them hold the front's target. In
    training mode it returns the logits and behind them what the front gave, [b, k + ...], else the logits, [b, k].
    """

    def __init__(
        self,
        front: nn.Module,
        classifier: nn.Module,
        num_channels: int,
        combine: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.front, self.classifier = front, classifier
        self.num_channels, self.combine = num_channels, combine

    def forward(self, images: Tensor) -> Tensor:
        """Classify float images [b, c or more, h, w]."""
        own = images[:, : self.num_channels]
        given = self.front(own)
        logits = self.classifier(self.combine(own, given.detach()))
        return torch.cat([logits, given.flatten(1)], 1) if self.training else logits


def append_channel(images: Tensor, values: Tensor) -> Tensor:
    """Return `images` [b, c, h, w] with a constant channel of each one's value, [b, 1]."""
    return torch.cat([images, values[:, :, None, None].expand(-1, 1, *images.shape[2:])], 1)


def replace_images(_: Tensor, restored: Tensor) -> Tensor:
    """Return the restored images."""
    return restored


def parameter_of(images: Tensor) -> Tensor:
    """Return the value of the last channel, [b]: its median, as an augmentation may have moved some pixels."""
    return images[:, -1].flatten(1).median(1).values


class FeatureWise(nn.Module):
    """A convolution whose maps a parameter scales and shifts (Perez et al. 2018, arXiv:1709.07871, equation 2).

    It reads images [b, c + 1, h, w], whose last channel is the parameter, and gives (1 + s) y + t for each map y of
    `conv`; s and t are linear in the parameter and start at 0.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.scale_shift = nn.Linear(1, 2 * conv.out_channels)
        nn.init.zeros_(self.scale_shift.weight)
        nn.init.zeros_(self.scale_shift.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return the maps, [b, out, h, w]."""
        scale, shift = self.scale_shift(parameter_of(images)[:, None]).chunk(2, 1)
        maps: Tensor = self.conv(images[:, :-1])
        scaled: Tensor = (1 + scale[:, :, None, None]) * maps + shift[:, :, None, None]
        return scaled


def scale_first_maps(model: nn.Module) -> nn.Module:
    """Return `model`, in place, with its first convolution made `FeatureWise`; ValueError where it has none."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, FeatureWise(module))
            return model
    raise ValueError(f"{type(model).__name__} has no convolution")
