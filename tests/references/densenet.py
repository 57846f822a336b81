"""DenseNet-BC as published, slowly: every reader has a batch normalisation of its own, in training mode."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def reference_densenet(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits of a DenseNet-BC in training mode, taking only the parameters from `model`."""

    def norm_relu(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional.relu(functional.batch_norm(maps, None, None, weight, bias, training=True))

    maps = functional.conv2d(images, model.stem.weight, padding=1)
    for index, block in enumerate(model.blocks):
        if index > 0:
            reuse = model.blocks[index - 1].transition
            maps = functional.conv2d(norm_relu(maps, reuse.scale, reuse.shift), reuse.weight)
            maps = functional.avg_pool2d(maps, 2)
        for layer in block.layers:
            new = functional.conv2d(norm_relu(maps, layer.reuse.scale, layer.reuse.shift), layer.reuse.weight)
            new = norm_relu(new, layer.bottleneck.weight, layer.bottleneck.bias)
            maps = torch.cat([maps, functional.conv2d(new, layer.conv.weight, padding=1)], 1)
    pooled = norm_relu(maps, model.head.scale, model.head.shift).mean((2, 3))
    return functional.linear(pooled, model.classifier.weight, model.classifier.bias)
