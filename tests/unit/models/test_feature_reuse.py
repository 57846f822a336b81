"""Shared feature maps against plain concatenation, and what discarding does."""

import copy
import itertools

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from pipelines.models import shared
from pipelines.models.features import ConcatenatedFeatures
from pipelines.models.reuse import DiscardDraws, Kept
from tests.references.densenet import reference_densenet

PLAIN = {"bottleneck": False, "compression": 1.0}
VARIANTS = [
    {},
    {"discard_rate": 0.3},
    {"discard_rate": 0.3, "discard_granularity": "channel_group"},
    PLAIN,
    PLAIN | {"discard_rate": 0.3},
]
# Sums of at most a few thousand float64 terms in another order: relative errors of some 1000 x 2^-53 = 1e-13.
TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}


def outcome(model, steps=2):
    """Input gradient, parameter gradients, buffers after `steps` training steps, then the logits in evaluation."""
    generator = torch.Generator().manual_seed(0)
    model = model.double()
    images = torch.randn(6, 2, 8, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 10, (6,), generator=generator)
    for _ in range(steps):
        model.zero_grad()
        images.grad = None
        functional.cross_entropy(model(images), labels).backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    buffers = [buffer for _, buffer in model.named_buffers()]
    return [images.grad, *gradients, *buffers, model.eval()(images).detach()]


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("tile_bytes", [2**21, 2**13])
def test_memory_efficient_mode_has_the_same_gradients(build, monkeypatch, changes, tile_bytes):
    monkeypatch.setattr(shared, "TILE_BYTES", tile_bytes)
    plain = outcome(build("densenet22", channels=2, size=8, memory_efficient=False, **changes))
    efficient = outcome(build("densenet22", channels=2, size=8, memory_efficient=True, **changes))
    assert len(plain) > 40
    for expected, value in zip(plain, efficient, strict=True):
        torch.testing.assert_close(value, expected, **TOLERANCE)


@pytest.mark.parametrize("memory_efficient", [False, True])
def test_equals_the_network_with_a_batch_norm_per_reader(build, memory_efficient):
    model = build("densenet16", channels=2, size=8, memory_efficient=memory_efficient).double()
    for name, parameter in model.named_parameters():
        if name.endswith(("scale", "shift")):  # at 1 and 0 a mix-up of the readers would not show
            torch.nn.init.uniform_(parameter, -1, 1)
    images = torch.randn(5, 2, 8, 8, dtype=torch.float64)
    expected = reference_densenet(model, images)
    torch.testing.assert_close(model(images), expected, **TOLERANCE)


def test_accumulates_over_two_backward_passes_of_one_graph(build):
    model = build("densenet16", channels=2, size=8, memory_efficient=True).double()
    loss = model(torch.randn(4, 2, 8, 8, dtype=torch.float64)).square().sum()
    loss.backward(retain_graph=True)
    once = [parameter.grad.clone() for parameter in model.parameters()]
    loss.backward()
    for parameter, gradient in zip(model.parameters(), once, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * gradient, **TOLERANCE)


def training_flops(model):
    counter = FlopCounterMode(display=False)
    with counter:
        model.train()(torch.rand(4, 1, 8, 8)).sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("memory_efficient", [False, True])
@pytest.mark.parametrize("granularity", ["layer", "channel_group"])
def test_discarding_saves_the_computation(build, memory_efficient, granularity):
    options = {"channels": 1, "size": 8, "memory_efficient": memory_efficient, "bottleneck_width": 16}
    full = training_flops(build("densenet40", **options))
    saved = training_flops(build("densenet40", discard_rate=0.5, discard_granularity=granularity, **options))
    # Wide bottlenecks: 1x1 convolutions of kept maps, which halve, are C x 192 of C x 192 + 192 x 108 multiply-adds
    # per pixel and layer, C being 24 to 150. Computing everything and masking would save nothing at all.
    assert saved < 0.85 * full


class Gathered(TorchDispatchMode):
    """Counts the elements that concatenations and selections by index write."""

    num_elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.cat, torch.ops.aten.index_select):
            self.num_elements += result.numel()
        return result


@pytest.mark.parametrize("runs", [(range(2, 5),), (range(4), range(5, 6), range(9, 11)), (range(11),)])
def test_plain_concatenation_gathers_only_what_is_read(runs):
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(3, width, 5, 5, generator=generator) for width in (4, 1, 3, 3)]
    scale, shift = torch.rand(11, generator=generator), torch.randn(11, generator=generator)
    weight = torch.randn(7, 11, 1, 1, generator=generator)
    features = ConcatenatedFeatures(recompute=False)
    for one in maps:
        features.append(one, torch.nn.Identity())
    kept = Kept(runs, 1.5)
    channels = kept.channels
    gathered = Gathered()
    with gathered:
        result = features.read(scale, shift, weight, kept)
    assert gathered.num_elements == len(channels) * (3 * 5 * 5 + 7)  # maps and columns of the weights
    active = (torch.cat(maps, 1) * scale[:, None, None] + shift[:, None, None]).relu()[:, channels]
    # Sums of 11 float32 products in another order.
    expected = 1.5 * torch.einsum("nchw,oc->nohw", active, weight[:, channels, 0, 0])
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


def test_discarded_maps_of_a_layer_get_no_gradient_of_its_weights(build):
    model = build("densenet22", channels=1, size=8, discard_rate=0.5, memory_efficient=True)
    state = model.generator.get_state()
    model(torch.rand(4, 1, 8, 8)).sum().backward()
    model.generator.set_state(state)
    for block in model.blocks:
        reads = model.draws.draw(block.input_width, block.growth_rate, len(block.layers))
        for layer, kept in zip(block.layers, reads, strict=True):
            touched = layer.reuse.weight.grad.flatten(1).abs().sum(0).nonzero().flatten().tolist()
            assert touched == kept.channels
            assert len(kept.channels) < layer.reuse.weight.shape[1]


def test_one_draw_a_mini_batch_from_the_owned_generator(build):
    model = build("densenet22", channels=1, size=8, discard_rate=0.5, memory_efficient=True)
    images = torch.rand(4, 1, 8, 8)
    twin = copy.deepcopy(model)
    global_state = torch.random.get_rng_state()
    first, second = model(images), model(images)
    assert not torch.equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), global_state)
    assert torch.equal(twin(images), first)
    torch.manual_seed(1)
    assert torch.equal(twin(images), second)


def test_evaluation_reads_everything_and_draws_nothing(build):
    kept = build("densenet22", channels=1, size=8, discard_rate=0.5).eval()
    full = build("densenet22", channels=1, size=8).eval()
    images = torch.rand(4, 1, 8, 8)
    state = kept.generator.get_state()
    assert torch.equal(kept(images), full(images))
    assert torch.equal(kept.generator.get_state(), state)


@pytest.mark.parametrize(("rate", "group_size"), [(0.25, 12), (0.5, 4), (0.9, 12), (0.25, 5)])
def test_every_map_is_read_equally_often_and_scaled_to_expectation(rate, group_size):
    draws = DiscardDraws(rate, group_size, seed=0)
    num_draws, width, growth, layers = 2000, 30, 12, 4
    counts = [torch.zeros(width + index * growth) for index in range(layers)]
    for _ in range(num_draws):
        for count, kept in zip(counts, draws.draw(width, growth, layers), strict=True):
            count[torch.tensor(kept.channels)] += kept.factor
            runs = kept.runs
            assert all(low.stop < high.start for low, high in itertools.pairwise(runs))
    for count in counts:
        # Mean of 2000 draws of a variable that is `factor` <= 12 with probability 1 / factor, else 0: a standard
        # error of sqrt((factor - 1) / 2000) <= 0.075; five of them for the largest of a few hundred means.
        assert (count / num_draws - 1).abs().max() < 5 * 0.075


def test_peak_memory_of_the_efficient_mode_is_linear_in_depth(build):
    def saved_bytes(**changes):
        total = 0

        def pack(tensor):
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        model = build("densenet40", channels=1, size=8, **changes)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = model(torch.rand(16, 1, 8, 8)).sum()
        loss.backward()
        return total

    # Plain: each of 18 layers keeps its concatenated input and the activations, 24 to 150 maps each.
    assert saved_bytes(memory_efficient=True) < 0.6 * saved_bytes(memory_efficient=False)


def test_exported_model_gives_the_same_logits(build):
    model = build("densenet10", channels=1, size=8, memory_efficient=True).eval()
    images = torch.rand(2, 1, 8, 8)
    exported = torch.export.export(model, (images,)).module()
    expected = model(images)
    # Float32 sums of up to 300 products in another order, through ten layers.
    torch.testing.assert_close(exported(images), expected, rtol=1e-4, atol=1e-5)
