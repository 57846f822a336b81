"""A compact network of three convolutions and two linear layers, after that of Guo, Alvarez and Salzmann 2020.

The network that ExpandNets were shown on for CIFAR (arXiv:1811.10495, section 4.1, after Passalis and Tefas 2018): 8,
16 and 32 maps, each convolution followed by batch normalisation, ReLU and 2x2 pooling, and a hidden layer of 64. The
number in the name is the side of the kernels. On small images poolings are left out from the end where no 2x2 pixels
would remain.
"""

from collections import OrderedDict
from functools import partial

from torch import nn

from pipelines.models.base import MODELS, ModelSpec
from pipelines.models.resolution import num_halvings

WIDTHS = (8, 16, 32)
HIDDEN = 64
KERNELS = (3, 5, 7)


def build_compact(spec: ModelSpec, kernel: int) -> nn.Module:
    """Build the network with kernels of a side of `kernel` pixels, an odd number."""
    num_pools = num_halvings(spec.image_size, len(WIDTHS))
    layers: list[nn.Module] = []
    num_inputs = spec.num_channels
    for index, width in enumerate(WIDTHS):
        layers.append(nn.Conv2d(num_inputs, width, kernel, padding=kernel // 2, bias=False))
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if index < num_pools else []
        num_inputs = width
    side = spec.image_size // 2**num_pools
    return nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*layers),
            flatten=nn.Flatten(),
            hidden=nn.Linear(WIDTHS[-1] * side**2, HIDDEN),
            relu=nn.ReLU(),
            classifier=nn.Linear(HIDDEN, spec.num_classes),
        )
    )


for _kernel in KERNELS:
    MODELS.register(f"compact{_kernel}")(partial(build_compact, kernel=_kernel))
