"""VGG with batch normalisation (Simonyan and Zisserman 2015, arXiv:1409.1556), adapted to small images.

torchvision's convolutions and channel counts (configurations D and E); instead of the three large linear
layers made for 7x7 maps, a global average and one linear layer, as usual on CIFAR-10: there the published
VGG-16-BN has 14.7 million parameters and 92.64 % test accuracy (kuangliu/pytorch-cifar).

Pooling is kept where at least 2x2 pixels remain. Below `STEM_POOL_SIZE` pixels the first pooling goes too: the
wide layers would otherwise see almost nothing of an 8x8 digit.
"""

from collections import OrderedDict

from torch import nn

from pipelines.models.base import MODELS, ModelSpec
from pipelines.models.resolution import num_halvings
from pipelines.torchvision_compat import torchvision

STEM_POOL_SIZE = 16
WIDTH = 512  # outputs of the last convolution in every configuration


def _small_image_plan(configuration: str, image_size: int) -> list[str | int]:
    """Return torchvision's list of widths and poolings ("M") without the poolings that do not fit."""
    plan = list(torchvision.models.vgg.cfgs[configuration])
    num_pools = plan.count("M")
    first = 1 if image_size < STEM_POOL_SIZE else 0
    last = first + num_halvings(image_size, num_pools - first)
    seen = -1
    kept: list[str | int] = []
    for item in plan:
        seen += item == "M"
        if item != "M" or first <= seen < last:
            kept.append(item)
    return kept


def _build(configuration: str, spec: ModelSpec) -> nn.Module:
    plan = _small_image_plan(configuration, spec.image_size)
    features = torchvision.models.vgg.make_layers(plan, batch_norm=True)
    features[0] = nn.Conv2d(spec.num_channels, features[0].out_channels, 3, padding=1)
    model = nn.Sequential(
        OrderedDict(
            features=features,
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Linear(WIDTH, spec.num_classes),
        )
    )
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            # torchvision's VGG initialisation
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model


@MODELS.register("vgg16_bn")
def build_vgg16_bn(spec: ModelSpec) -> nn.Module:
    """Build VGG-16-BN (13 convolutions) for small images."""
    return _build("D", spec)


@MODELS.register("vgg19_bn")
def build_vgg19_bn(spec: ModelSpec) -> nn.Module:
    """Build VGG-19-BN (16 convolutions) for small images."""
    return _build("E", spec)
