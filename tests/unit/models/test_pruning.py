"""Pruned networks against the whole ones with channels at zero; scores against slow loops."""

import copy

import pytest
import torch
from torch import nn

from pipelines.errors import UserError
from pipelines.models import build_from_spec, count_parameters, spec_of
from pipelines.models.pruning import (
    channel_groups,
    magnitude_scores,
    mseb_scores,
    num_kept,
    prune,
    random_scores,
    remove_mseb,
)

NAMES = ["vgg16_bn", "resnet18", "resnet50", "densenet22"]
IMAGES = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def disturbed(model: nn.Module) -> nn.Module:
    """Batch norms as after a training, so that a mix-up of channels shows."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for name, tensor in [*module.named_parameters(), ("running_var", module.running_var)]:
                if tensor is not None:
                    low = 0.5 if name != "bias" else -0.3
                    tensor.data.copy_(low + torch.rand(tensor.shape, generator=generator))
    return model.eval()


@pytest.mark.parametrize("name", NAMES)
def test_a_pruned_network_is_the_whole_one_with_channels_at_zero(build, name):
    model = disturbed(build(name, channels=1, size=8))
    scores = random_scores(model, seed=3)
    pruned = prune(model, 70, scores)
    masked = copy.deepcopy(model)
    for group in channel_groups(model):
        dropped = scores[group.name].argsort()[
            : len(scores[group.name]) - num_kept(len(scores[group.name]), 70)
        ]
        for norm in map(masked.get_submodule, group.norms):
            norm.weight.data[dropped] = 0
            norm.bias.data[dropped] = 0
    with torch.no_grad():
        expected, whole = masked(IMAGES), model(IMAGES)
        # float32 sums of up to some thousand products in another order, through up to 50 layers.
        torch.testing.assert_close(
            pruned(IMAGES), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())
        )
    assert (whole - expected).abs().max() > 1e-2 * whole.abs().max()


@pytest.mark.parametrize("name", ["resnet18", "densenet22"])
def test_what_remains_is_rebuilt_from_the_specification(build, name):
    pruned = prune(
        build(name, channels=1, size=8), 50, random_scores(build(name, channels=1, size=8), seed=0)
    )
    assert spec_of(pruned).name == f"{name}-pruned50"
    rebuilt = build_from_spec(spec_of(pruned))
    rebuilt.load_state_dict(pruned.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(rebuilt.eval()(IMAGES), pruned.eval()(IMAGES))
    assert count_parameters(rebuilt) == count_parameters(pruned)


def test_parameters_of_a_pruned_vgg_by_hand(build):
    widths = [64, 64, 128, 128, *[256] * 4, *[512] * 8]
    kept = [num_kept(width, 30) for width in widths]
    assert kept[:3] == [45, 45, 90]
    convolutions = sum(9 * i * o + o for i, o in zip([3, *kept], kept, strict=False))
    expected = convolutions + 2 * sum(kept) + 10 * kept[-1] + 10
    assert count_parameters(build("vgg19_bn-pruned30")) == expected


def test_a_new_narrow_network_starts_at_the_scale_of_its_widths(build):
    for name, module in build("vgg16_bn-pruned75", channels=1, size=8).named_modules():
        if isinstance(module, nn.Conv2d) and module.out_channels > 100:
            # Kaiming, fan out; the standard error over 9 x 64 x 128 weights is below 1 %.
            assert float(module.weight.std()) == pytest.approx(
                (2 / (9 * module.out_channels)) ** 0.5, rel=0.03
            ), name


def test_magnitude_is_the_sum_of_absolute_weights(build):
    model = build("resnet18", channels=1, size=8)
    scores = magnitude_scores(model)
    model.requires_grad_(False)
    writers = [model.layer2[0].downsample[0], model.layer2[0].conv2, model.layer2[1].conv2]
    channel = [sum(float(value.abs()) for value in conv.weight[7].flatten()) for conv in writers]
    # Sums of 1,152 float32 values in another order.
    assert float(scores["layer2"][7]) == pytest.approx(sum(channel) / 3, rel=1e-5)
    assert scores["layer1.0.conv1"].shape == (64,)


@pytest.mark.parametrize("name", ["densenet10", "resnet18"])
def test_mean_scores_of_the_blocks(build, name):
    model = disturbed(build(f"{name}-mseb4", channels=1, size=8))
    scores = mseb_scores(model, [IMAGES[:3], IMAGES[3:]])
    group = channel_groups(model)[-1]
    seen = {}
    for norm in group.norms:
        block = model.get_submodule(f"{norm}.block")
        block.register_forward_hook(
            lambda own, inputs, output, norm=norm: seen.update({norm: (own, inputs[0], output)})
        )
    with torch.no_grad():
        model(IMAGES)
    expected = 0.0
    for block, maps, scored in seen.values():
        pooled = torch.stack(
            [torch.stack([*(one.mean() for one in image), *(one.max() for one in image)]) for image in maps]
        )
        hidden = torch.clamp(pooled @ block.hidden.weight.T + block.hidden.bias, min=0)
        by_hand = 1 / (1 + torch.exp(-(hidden @ block.scores.weight.T + block.scores.bias)))
        torch.testing.assert_close(scored, by_hand)
        expected = expected + by_hand.mean(0) / len(seen)
    torch.testing.assert_close(scores[group.name], expected)
    assert 0 < float(scores[group.name].min()) < float(scores[group.name].max()) < 1


def test_blocks_are_removed_with_their_mean_scores(build):
    model = disturbed(build("densenet10-mseb4", channels=1, size=8))
    for name, parameter in model.named_parameters():
        if "block" in name:  # the same score for every image
            parameter.data.copy_(
                torch.randn(parameter.shape) if name.endswith("scores.bias") else parameter * 0
            )
    plain = remove_mseb(model, mseb_scores(model, [IMAGES]))
    assert plain.state_dict().keys() == build("densenet10", channels=1).state_dict().keys()
    assert spec_of(plain).name == "densenet10"
    with torch.no_grad():
        torch.testing.assert_close(plain(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_pruned_is_named(build):
    with pytest.raises(UserError, match="efficientnet_b0 cannot be pruned; allowed"):
        build("efficientnet_b0-pruned50", size=8)
    with pytest.raises(UserError, match="pruned99 is not allowed; allowed: pruned1 to pruned95"):
        build("densenet10-pruned99", size=8)
    with pytest.raises(
        UserError, match="densenet10-cl2 cannot be pruned any more; allowed: mseb, pruned before cl"
    ):
        build("densenet10-cl2-pruned50", size=8)
    with pytest.raises(UserError, match=r"densenet\.bottleneck: False is not allowed"):
        build("densenet10-pruned50", size=8, bottleneck=False, blocks={"10": (2, 2, 2)})
