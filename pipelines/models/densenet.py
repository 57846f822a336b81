"""DenseNet and DenseNet-BC for small images (Huang et al. 2017, arXiv:1608.06993, section 3 and 4.1).

Stem 3x3 convolution without stride, dense blocks with 2x2 average pooling between them, global average
pooling, one linear layer. How earlier feature maps are read, and discarded, is in `reuse`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.errors import UserError
from pipelines.models.base import DENSENETS, MODELS, ModelSpec
from pipelines.models.blocks import block_layers
from pipelines.models.config import DenseNetConfig
from pipelines.models.features import ConcatenatedFeatures, Features
from pipelines.models.reuse import DiscardDraws, Kept
from pipelines.models.shared import SharedFeatures


class ReusedConv(nn.Module):
    """Scale, shift, ReLU and convolution of earlier feature maps (1x1: bottleneck or transition)."""

    def __init__(self, num_inputs: int, num_outputs: int, kernel_size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_inputs))
        self.shift = nn.Parameter(torch.zeros(num_inputs))
        self.weight = nn.Parameter(torch.empty(num_outputs, num_inputs, kernel_size, kernel_size))
        nn.init.kaiming_normal_(self.weight)

    def forward(self, features: Features, kept: Kept | None = None) -> Tensor:
        """Return [b, num_outputs, h, w] from the `num_inputs` maps so far, or from those `kept`."""
        return features.read(self.scale, self.shift, self.weight, kept)


class Head(nn.Module):
    """Scale, shift and ReLU of the last block's maps, and their average over all pixels."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_channels))
        self.shift = nn.Parameter(torch.zeros(num_channels))

    def forward(self, features: Features) -> Tensor:
        """Return [b, num_channels]."""
        return features.activate(self.scale, self.shift).mean((2, 3))


class DenseLayer(nn.Module):
    """One layer of a dense block: reads earlier maps, appends `growth_rate` of its own."""

    def __init__(self, num_inputs: int, config: DenseNetConfig) -> None:
        super().__init__()
        growth, width = config.growth_rate, config.bottleneck_width * config.growth_rate
        self.dropout = config.dropout
        self.bottleneck: nn.Module | None = None
        if config.bottleneck:
            self.reuse = ReusedConv(num_inputs, width, 1)
            self.bottleneck = nn.BatchNorm2d(width)
            self.conv = nn.Conv2d(width, growth, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(self.conv.weight)
        else:
            self.reuse = ReusedConv(num_inputs, growth, 3)
        self.normalise = nn.BatchNorm2d(growth, affine=False)

    def forward(self, features: Features, kept: Kept | None) -> None:
        """Append this layer's maps [b, growth_rate, h, w] to `features`."""
        new = functional.dropout(self.reuse(features, kept), self.dropout, self.training)
        if self.bottleneck is not None:
            new = self.conv(functional.relu(self.bottleneck(new), inplace=True))
            new = functional.dropout(new, self.dropout, self.training)
        features.append(new, self.normalise)


class DenseBlock(nn.Module):
    """Layers that each read the maps of the block's input and of all earlier layers.

    The transition to a next block, which the `last` one lacks, belongs to the block: so parameters stand in the order
    in which they are used, their gradients arrive in the reverse of it, and a bucket of neighbours is complete early.
    """

    def __init__(
        self, input_width: int, num_layers: int, config: DenseNetConfig, *, last: bool = True
    ) -> None:
        super().__init__()
        self.input_width = input_width
        self.growth_rate = config.growth_rate
        self.output_width = input_width + num_layers * config.growth_rate
        self.memory_efficient = config.memory_efficient
        self.normalise = nn.BatchNorm2d(input_width, affine=False)
        self.layers = nn.ModuleList(
            DenseLayer(input_width + index * config.growth_rate, config) for index in range(num_layers)
        )
        self.dropout = config.dropout
        self.next_width = self.output_width if last else int(self.output_width * config.compression)
        """Maps that the next block, or what stands behind the last one, gets."""
        self.transition = None if last else ReusedConv(self.output_width, self.next_width, 1)

    def forward(self, maps: Tensor, draws: DiscardDraws | None) -> Features:
        """Return the `output_width` normalised maps after `maps` [b, input_width, h, w] went through all layers.

        `draws` chooses what each layer reads in this step, None: everything.
        """
        reads: list[Kept] | list[None] = [None] * len(self.layers)
        if draws is not None:
            reads = draws.draw(self.input_width, self.growth_rate, len(self.layers))
        features = self._new_features(maps)
        features.append(maps, self.normalise)
        for layer, kept in zip(self.layers, reads, strict=True):
            layer(features, kept)
        return features

    def leave(self, features: Features) -> Tensor:
        """Return the next block's input [b, next_width, h / 2, w / 2] of what `forward` has returned."""
        assert self.transition is not None
        maps = functional.dropout(self.transition(features), self.dropout, self.training)
        return functional.avg_pool2d(maps, 2)

    def _new_features(self, maps: Tensor) -> Features:
        # Compilers and exporters cannot look into autograd functions of ours.
        if self.memory_efficient and not torch.compiler.is_compiling():
            parameters = any(parameter.requires_grad for parameter in self.layers.parameters())
            return SharedFeatures(self.output_width, needs_gradient=maps.requires_grad or parameters)
        return ConcatenatedFeatures(recompute=self.memory_efficient)


class DenseNet(nn.Module):
    """DenseNet for images [batch, num_channels, height, width]; returns logits [batch, num_classes].

    `generator` is the only random state of the discarding; its state belongs into a checkpoint.
    """

    def __init__(
        self, layers: tuple[int, ...], config: DenseNetConfig, num_channels: int, num_classes: int, seed: int
    ) -> None:
        super().__init__()
        width = config.stem_width
        self.stem = nn.Conv2d(num_channels, width, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.stem.weight)
        self.blocks = nn.ModuleList()
        for number, num_layers in enumerate(layers, start=1):
            block = DenseBlock(width, num_layers, config, last=number == len(layers))
            self.blocks.append(block)
            width = block.next_width
        self.head = Head(width)
        self.classifier = nn.Linear(width, num_classes)
        nn.init.zeros_(self.classifier.bias)
        by_layer = config.discard_granularity == "layer"
        group_size = config.growth_rate if by_layer else config.discard_group_size
        self.draws = DiscardDraws(config.discard_rate, group_size, seed)
        self._discards = config.discard_rate > 0

    @property
    def changes_every_step(self) -> bool:
        """Whether each training step computes something else, so that compiling it does not pay."""
        return self.draws.rate > 0

    @property
    def generator(self) -> torch.Generator:
        """What decides the maps to discard, on the CPU; training mode advances it."""
        return self.draws.generator

    @contextmanager
    def full_reuse(self) -> Iterator[None]:
        """Within the context training mode discards nothing and draws nothing."""
        self._discards = False
        try:
            yield
        finally:
            self._discards = self.draws.rate > 0

    def forward(self, images: Tensor) -> Tensor:
        """Classify float images; in training mode each step discards anew and advances the generator."""
        draws = self.draws if self.training and self._discards else None
        maps = self.stem(images)
        for block in self.blocks:
            assert isinstance(block, DenseBlock)
            features = block(maps, draws)
            if block.transition is not None:
                maps = block.leave(features)
        return self.classifier(self.head(features))  # type: ignore[no-any-return]


@MODELS.register(DENSENETS)
def build_densenet(spec: ModelSpec) -> DenseNet:
    """Build the DenseNet whose nominal depth stands in the name; see `blocks` for the depth rules."""
    assert spec.densenet is not None  # a family by depth has the section
    layers = block_layers(spec.depth, spec.densenet)
    smallest = 2 ** (len(layers) - 1)
    if spec.image_size < smallest:
        raise UserError(
            f"prepare.image_size: {spec.image_size} is too small for {spec.name}; "
            f"allowed: at least {smallest} pixels"
        )
    return DenseNet(layers, spec.densenet, spec.num_channels, spec.num_classes, spec.seed)
