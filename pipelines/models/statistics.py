"""Size and cost of a model: parameters and multiply-adds."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable values."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count_multiply_adds(model: nn.Module, input_shape: tuple[int, int, int]) -> int:
    """Return the multiply-adds of convolutions and linear layers for one image of shape [c, h, w].

    Counted while the model classifies one zero image in evaluation mode, so full reuse in a DenseNet. The
    model's mode is restored; normalisation, activations and pooling are not counted, as usual in papers.
    """
    was_training = model.training
    device = next(model.parameters()).device
    counter = FlopCounterMode(display=False)
    model.eval()
    try:
        with torch.inference_mode(), counter:
            model(torch.zeros(1, *input_shape, device=device))
    finally:
        model.train(was_training)
    return counter.get_total_flops() // 2  # torch counts a multiply-add as two operations
