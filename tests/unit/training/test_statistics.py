"""Evaluation after steps that discard feature maps: batch-norm statistics of full reuse."""

import copy
from itertools import islice

import pytest
import torch
from torch import nn

from pipelines.data import Batches
from pipelines.training import load_checkpoint, rebuild_model, settle_statistics, train
from pipelines.training.statistics import NUM_BATCHES
from tests.unit.training.conftest import RecordingTracker


def batches_of(data):
    split = data.train
    batches = Batches(
        split,
        16,
        mean=data.mean,
        std=data.std,
        seed=0,
        device="cpu",
        augment=None,
        shuffle=False,
        drop_last=True,
    )
    return [images for images, _ in batches]


def variance_ratios(model, batches):
    """Return running variance over true variance at full reuse, a mean over the channels of each batch norm.

    Those of the shared matrix are no modules to the hooks: without them.
    """
    seen = {}

    def see(module, inputs, _):
        seen.setdefault(module, []).append(inputs[0].var((0, 2, 3), unbiased=True))

    twin = copy.deepcopy(model)
    norms = [module for module in twin.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.register_forward_hook(see)
    kept = {norm: norm.running_var.clone() for norm in norms}
    with torch.no_grad(), twin.train().full_reuse():
        for images in batches:
            twin(images)
    return torch.stack([(kept[norm] / torch.stack(values).mean(0)).mean() for norm, values in seen.items()])


@pytest.fixture(params=[True, False], ids=["shared", "concatenated"])
def discarding(model, request):
    return model("densenet22", discard_rate=0.5, dropout=0.0, memory_efficient=request.param)


def test_the_checkpoint_of_a_discarding_model_has_the_statistics_of_full_reuse(
    discarding, data, recipe, tmp_path
):
    result = train(
        discarding, data, recipe(), folder=tmp_path, tracker=RecordingTracker(), description="test"
    )
    best = rebuild_model(load_checkpoint(result.best_checkpoint))
    ratios = variance_ratios(best, batches_of(data))
    # Other crops and another split into batches of the same images: a few percent.
    assert torch.allclose(ratios, torch.ones_like(ratios), atol=0.15)


def test_statistics_learned_while_discarding_are_another_scale(discarding, data):
    batches = batches_of(data)
    with torch.no_grad():
        for images in batches * 10:
            discarding.train()(images)
    # Behind the reads half of the maps, scaled by two: twice the variance, were they independent.
    assert variance_ratios(discarding, batches).max() > 1.5
    settle_statistics(discarding, batches)
    # The same batches in the same order: float32 rounding alone.
    ratios = variance_ratios(discarding, list(islice(batches, NUM_BATCHES)))
    torch.testing.assert_close(ratios, torch.ones_like(ratios), atol=1e-4, rtol=0)


def test_both_implementations_settle_alike(model, data):
    shared, concatenated = (
        model("densenet22", discard_rate=0.5, dropout=0.0, memory_efficient=shared)
        for shared in (True, False)
    )
    for one in (shared, concatenated):
        settle_statistics(one, batches_of(data))
    for name, buffer in concatenated.named_buffers():
        # Sums in another order, in float32, through 22 layers.
        torch.testing.assert_close(shared.get_buffer(name), buffer, atol=1e-3, rtol=1e-3)


def test_settling_draws_nothing_and_leaves_the_mode(discarding, data):
    state, global_state = discarding.generator.get_state(), torch.random.get_rng_state()
    discarding.eval()
    settle_statistics(discarding, batches_of(data))
    assert not discarding.training
    assert torch.equal(discarding.generator.get_state(), state)
    assert torch.equal(torch.random.get_rng_state(), global_state)


def test_a_model_without_discarding_keeps_its_statistics(model, data):
    full = model("densenet22", discard_rate=0.0)
    before = copy.deepcopy(full.state_dict())
    settle_statistics(full, batches_of(data))
    assert all(torch.equal(before[name], value) for name, value in full.state_dict().items())
