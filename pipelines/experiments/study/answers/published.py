"""Published CIFAR-10 test errors of the compared models, for orientation: other recipes, hundreds of epochs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A test error from the literature."""

    error_percent: float
    source: str


PUBLISHED = {
    "densenet100": Published(4.51, "Huang et al. 2017, table 2: DenseNet-BC, k = 12, with augmentation"),
    "vgg16_bn": Published(7.36, "github.com/kuangliu/pytorch-cifar: VGG16, adapted to small images"),
    "vgg19_bn": Published(
        6.66, "github.com/bearpaw/pytorch-classification: vgg19_bn, adapted to small images"
    ),
    "resnet18": Published(6.98, "github.com/kuangliu/pytorch-cifar: ResNet18, adapted to small images"),
    "efficientnet_b0": Published(1.9, "Tan and Le 2019, table 5: pre-trained on ImageNet"),
}
"""By registered name; a model without a published figure that we are sure of is missing."""
