"""Size and cost of a model: parameters and multiply-adds."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

TRAINING_BATCH_SIZE = 2  # batch normalisation has no statistics over one image of one pixel


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


def count_training_multiply_adds(model: nn.Module, input_shape: tuple[int, int, int], num_draws: int) -> int:
    """Return the multiply-adds, as counted above, of a forward pass in training mode for an image [c, h, w].

    The mean over `num_draws` passes, rounded: a DenseNet that discards feature maps computes something else in
    each, and draws what it would draw next, from its seed on if it is new. `model` and the global random state
    are left as they are.
    """
    twin = copy.deepcopy(model).cpu().train()
    images = torch.zeros(TRAINING_BATCH_SIZE, *input_shape)
    counter = FlopCounterMode(display=False)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), counter:
        for _ in range(num_draws):
            twin(images)
    return round(counter.get_total_flops() / (2 * TRAINING_BATCH_SIZE * num_draws))
