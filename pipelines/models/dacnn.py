"""Deep anchored networks: one convolution kernel shared by all layers (Huang, Dwivedi and Roig 2019, arXiv:1904.09764).

`dacnn<depth>` has a stem convolution to 128 channels, then one 3x3 kernel of 128 to 128 channels that is applied
depth - 1 times, each use with a batch normalisation of its own, five max-poolings between them, a global average and
a linear layer. `dacnnreg<depth>` adds a regulator, a 1x1 convolution, after each use. `dacnnmix<depth>` has three
widths, 128, 256 and 512, with a shared kernel each, and an ordinary convolution from each width to the next.
`dacnnplain<depth>` is the network of `dacnn<depth>` with a kernel of its own for each layer.

Convolutions have no bias, as a batch normalisation follows each of them. Poolings are left out from the front where
a convolution would see fewer than 2x2 pixels.
"""

import itertools

from torch import Tensor, nn
from torch.nn import functional

from pipelines.errors import UserError
from pipelines.models.base import FAMILY_SUFFIX, MODELS, ModelSpec
from pipelines.models.resolution import num_halvings

WIDTH = 128
MIXED_WIDTHS = (128, 256, 512)
NUM_POOLS = 5
MOST_DEPTH = 200


def _conv(num_inputs: int, num_outputs: int, kernel_size: int = 3) -> nn.Conv2d:
    conv = nn.Conv2d(num_inputs, num_outputs, kernel_size, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def pools_after(depth: int, image_size: int) -> frozenset[int]:
    """Return the indices of the convolutions, from 0 for the stem, that a 2x2 max-pooling follows.

    Five poolings are spread evenly, the last one after the last convolution; of them remain as many as the image has
    halvings, the last ones.
    """
    places = [round((index + 1) * depth / NUM_POOLS) - 1 for index in range(NUM_POOLS)]
    kept = num_halvings(image_size, NUM_POOLS, smallest=1)
    return frozenset(places[NUM_POOLS - kept :])


class Use(nn.Module):
    """What belongs to one use of a kernel: its batch normalisation, and its regulator if there is one."""

    def __init__(self, width: int, regulated: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.regulator = _conv(width, width, 1) if regulated else None

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps [b, width, h, w] after the use of the kernel."""
        maps = functional.relu(self.norm(maps))
        return maps if self.regulator is None else self.regulator(maps)


class AnchoredNet(nn.Module):
    """Network of `depth` convolutions, of which those within a width are one and the same.

    Args:
        depth: convolutions, stem and those between widths included, regulators not.
        widths: channels; each has as many of the convolutions as the others, the first ones take the rest.
        regulated: whether a 1x1 convolution follows each use of a shared kernel.
        shared: whether kernels are shared at all.
        spec: image channels, classes and image size.
    """

    def __init__(
        self,
        depth: int,
        widths: tuple[int, ...],
        *,
        spec: ModelSpec,
        regulated: bool = False,
        shared: bool = True,
    ) -> None:
        super().__init__()
        self.stem = _conv(spec.num_channels, widths[0])
        self.wider = nn.ModuleList(_conv(*pair) for pair in itertools.pairwise(widths))
        self.plan = [place * len(widths) // depth for place in range(depth)]
        repeated = [index for index, before in zip(self.plan[1:], self.plan, strict=False) if index == before]
        owners = range(len(widths)) if shared else repeated
        self.shared = nn.ModuleList(_conv(widths[index], widths[index]) for index in owners)
        self.is_shared = shared
        self.uses = nn.ModuleList(
            Use(widths[index], regulated and place > 0) for place, index in enumerate(self.plan)
        )
        self.pools = pools_after(depth, spec.image_size)
        self.classifier = nn.Linear(widths[-1], spec.num_classes)

    def _conv_at(self, place: int) -> nn.Module:
        """Return the convolution at a place: the stem, the first one of a width, or one of the others there."""
        index = self.plan[place]
        if place == 0:
            return self.stem
        if index != self.plan[place - 1]:
            return self.wider[index - 1]
        # Without sharing they stand in their order: those before are the stem, `index` wider ones, and the others.
        return self.shared[index if self.is_shared else place - 1 - index]

    def forward(self, images: Tensor) -> Tensor:
        """Classify float images [b, c, h, w]; return logits [b, classes]."""
        maps = images
        for place, use in enumerate(self.uses):
            maps = use(self._conv_at(place)(maps))
            if place in self.pools:
                maps = functional.max_pool2d(maps, 2)
        return self.classifier(maps.mean((2, 3)))  # type: ignore[no-any-return]


def build_anchored(
    spec: ModelSpec, widths: tuple[int, ...], *, regulated: bool = False, shared: bool = True
) -> AnchoredNet:
    """Build the network of the depth in the name of `spec`; see `AnchoredNet`. UserError for a depth out of range."""
    least = 2 * len(widths)
    if not least <= spec.depth <= MOST_DEPTH:
        raise UserError(
            f"baseline.models: {spec.name}: depth {spec.depth} is not allowed; allowed: {least} to {MOST_DEPTH}"
        )
    return AnchoredNet(spec.depth, widths, spec=spec, regulated=regulated, shared=shared)


@MODELS.register(f"dacnn{FAMILY_SUFFIX}")
def build_dacnn(spec: ModelSpec) -> AnchoredNet:
    """Build the network with one shared kernel; dacnn13 is the paper's."""
    return build_anchored(spec, (WIDTH,))


@MODELS.register(f"dacnnmix{FAMILY_SUFFIX}")
def build_dacnn_mix(spec: ModelSpec) -> AnchoredNet:
    """Build DACNN-mix: one shared kernel a width."""
    return build_anchored(spec, MIXED_WIDTHS)


@MODELS.register(f"dacnnreg{FAMILY_SUFFIX}")
def build_dacnn_regulated(spec: ModelSpec) -> AnchoredNet:
    """Build the network with one shared kernel and a regulator after each use of it."""
    return build_anchored(spec, (WIDTH,), regulated=True)


@MODELS.register(f"dacnnplain{FAMILY_SUFFIX}")
def build_dacnn_plain(spec: ModelSpec) -> AnchoredNet:
    """Build the network of `dacnn<depth>` with a kernel of its own for each layer: what sharing is compared with."""
    return build_anchored(spec, (WIDTH,), shared=False)
