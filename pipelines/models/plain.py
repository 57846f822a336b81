"""Plain convolutional networks of any depth, with nothing but the depth and the width to choose.

`plain<depth>` has so many 3x3 convolutions, each with batch normalisation and ReLU, in three stages of 16, 32 and 64
channels, a 2x2 average pooling between stages where at least 2x2 pixels remain, a global average and a linear layer:
the plain network of He et al. 2016 (arXiv:1512.03385, section 4.2) with pooling instead of strides.
"""

import itertools

from torch import Tensor, nn
from torch.nn import functional

from pipelines.errors import UserError
from pipelines.models.base import FAMILY_SUFFIX, MODELS, ModelSpec
from pipelines.models.resolution import num_halvings

PLAIN = f"plain{FAMILY_SUFFIX}"
WIDTH = 16
NUM_STAGES = 3
MOST_DEPTH = 200


class PlainNet(nn.Module):
    """Network of `depth` convolutions whose first stage has `width` channels; images as `spec` says."""

    def __init__(self, depth: int, width: int, spec: ModelSpec) -> None:
        super().__init__()
        stages = [place * NUM_STAGES // depth for place in range(depth)]
        widths = [spec.num_channels, *(width * 2**stage for stage in stages)]
        self.layers = nn.ModuleList(_layer(*pair) for pair in itertools.pairwise(widths))
        num_pools = num_halvings(spec.image_size, NUM_STAGES - 1)
        starts = [stages.index(stage) for stage in range(1, NUM_STAGES)]
        self.pools = frozenset(starts[len(starts) - num_pools :])
        self.classifier = nn.Linear(widths[-1], spec.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Classify float images [b, c, h, w]; return logits [b, classes]."""
        maps = images
        for place, layer in enumerate(self.layers):
            maps = layer(functional.avg_pool2d(maps, 2) if place in self.pools else maps)
        return self.classifier(maps.mean((2, 3)))  # type: ignore[no-any-return]


def _layer(num_inputs: int, num_outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(num_inputs, num_outputs, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    return nn.Sequential(conv, nn.BatchNorm2d(num_outputs), nn.ReLU())


def check_plain_depth(depth: int) -> None:
    """Raise UserError unless `depth` is one that a plain network can have."""
    if not NUM_STAGES <= depth <= MOST_DEPTH:
        raise UserError(
            f"baseline.models: plain{depth} is not allowed; allowed: plain{NUM_STAGES} to plain{MOST_DEPTH}"
        )


@MODELS.register(PLAIN)
def build_plain(spec: ModelSpec) -> PlainNet:
    """Build the plain network of the depth in the name."""
    check_plain_depth(spec.depth)
    return PlainNet(spec.depth, WIDTH, spec)
