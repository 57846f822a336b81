"""EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946), adapted to small images.

torchvision's network with the published widths and depths. Its trunk shrinks an image by 32, which leaves
nothing of 32x32 pixels and is why it is so often a crippled baseline. Here the total stride is at most
2^`NUM_HALVINGS` and at least 2x2 pixels remain; strides are removed from the front: stem first.
"""

from torch import nn

from pipelines.models.base import MODELS, ModelSpec
from pipelines.models.resolution import num_halvings
from pipelines.torchvision_compat import torchvision

NUM_HALVINGS = 3  # total stride 8: 32x32 pixels end as 4x4, close to the 7x7 that the trunk was made for
DROPOUT = 0.2  # torchvision's efficientnet_b0
STOCHASTIC_DEPTH = 0.2  # torchvision's default
CLASSIFIER_STD = 0.01  # torchvision's vgg

# Table 1 of the paper: expansion, kernel, stride, inputs, outputs, layers.
_STAGES = (
    (1, 3, 1, 32, 16, 1),
    (6, 3, 2, 16, 24, 2),
    (6, 5, 2, 24, 40, 2),
    (6, 3, 2, 40, 80, 3),
    (6, 5, 1, 80, 112, 3),
    (6, 5, 2, 112, 192, 4),
    (6, 3, 1, 192, 320, 1),
)
_NUM_STRIDED_STAGES = sum(stage[2] == 2 for stage in _STAGES)


def _stages(num_kept: int) -> list[object]:
    """Return torchvision's stage descriptions with stride 2 in the last `num_kept` strided ones only."""
    to_remove = _NUM_STRIDED_STAGES - num_kept
    stages = []
    for expansion, kernel, stride, inputs, outputs, num_layers in _STAGES:
        if stride == 2 and to_remove > 0:
            stride, to_remove = 1, to_remove - 1
        stages.append(
            torchvision.models.efficientnet.MBConvConfig(
                expansion, kernel, stride, inputs, outputs, num_layers
            )
        )
    return stages


@MODELS.register("efficientnet_b0")
def build_efficientnet_b0(spec: ModelSpec) -> nn.Module:
    """Build EfficientNet-B0 with a stem without stride."""
    kept = num_halvings(spec.image_size, NUM_HALVINGS)
    model: nn.Module = torchvision.models.EfficientNet(
        _stages(kept), DROPOUT, stochastic_depth_prob=STOCHASTIC_DEPTH, num_classes=spec.num_classes
    )
    stem = nn.Conv2d(spec.num_channels, 32, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out")
    model.features[0][0] = stem  # type: ignore[index, assignment]
    # torchvision draws the classifier from +-1/sqrt(classes), meant for 1,000 of them. With 10 the initial loss is 5
    # instead of ln 10, and at the shared rate of 0.1 training does not recover; this is the scale of its VGG.
    nn.init.normal_(model.classifier[1].weight, std=CLASSIFIER_STD)  # type: ignore[index, union-attr]
    return model
