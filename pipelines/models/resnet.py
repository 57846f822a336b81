"""ResNet-18 (He et al. 2016, arXiv:1512.03385), adapted to small images.

torchvision's network with the usual CIFAR stem: a 3x3 convolution without stride and no pooling, 11.2 million
parameters; 93.02 % test accuracy on CIFAR-10 with 3-pixel input (kuangliu/pytorch-cifar). Where fewer than
2x2 pixels would remain, strides are removed from the front.
"""

from torch import nn

from pipelines.models.base import MODELS, ModelSpec
from pipelines.models.resolution import num_halvings
from pipelines.torchvision_compat import torchvision


@MODELS.register("resnet18")
def build_resnet18(spec: ModelSpec) -> nn.Module:
    """Build ResNet-18 for small images."""
    model: nn.Module = torchvision.models.resnet18(num_classes=spec.num_classes)
    stem = nn.Conv2d(spec.num_channels, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    model.conv1 = stem
    model.maxpool = nn.Identity()
    strided = [model.layer2, model.layer3, model.layer4]
    for layer in strided[: len(strided) - num_halvings(spec.image_size, len(strided))]:
        layer[0].conv1.stride = layer[0].downsample[0].stride = (1, 1)  # type: ignore
    return model
