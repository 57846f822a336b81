"""ResNet-18 (basic blocks) and ResNet-50 (bottlenecks) (He et al. 2016, arXiv:1512.03385), adapted to small images.

torchvision's networks with the usual CIFAR stem: a 3x3 convolution without stride and no pooling. With 10 classes they
have 11.2 and 23.5 million parameters; 93.02 and 93.62 % test accuracy on CIFAR-10 (kuangliu/pytorch-cifar). Where fewer
than 2x2 pixels would remain, strides are removed from the front.
"""

from torch import nn

from pipelines.models.base import MODELS, ModelSpec
from pipelines.models.resolution import num_halvings
from pipelines.torchvision_compat import torchvision


def _adapted(model: nn.Module, spec: ModelSpec) -> nn.Module:
    """Return torchvision's `model`, in place, with the stem and the strides for small images."""
    stem = nn.Conv2d(spec.num_channels, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    model.conv1 = stem
    model.maxpool = nn.Identity()
    strided = [model.layer2, model.layer3, model.layer4]
    for layer in strided[: len(strided) - num_halvings(spec.image_size, len(strided))]:
        convs = [layer[0].downsample[0], layer[0].conv1, layer[0].conv2]  # type: ignore
        for conv in convs:
            conv.stride = (1, 1)
    return model


@MODELS.register("resnet18")
def build_resnet18(spec: ModelSpec) -> nn.Module:
    """Build ResNet-18 for small images."""
    return _adapted(torchvision.models.resnet18(num_classes=spec.num_classes), spec)


@MODELS.register("resnet50")
def build_resnet50(spec: ModelSpec) -> nn.Module:
    """Build ResNet-50 for small images."""
    return _adapted(torchvision.models.resnet50(num_classes=spec.num_classes), spec)
