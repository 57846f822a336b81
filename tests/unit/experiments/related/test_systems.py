"""Every registered system, by contract: its networks train and finish as the same function; and what each is."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from pipelines.config import load_section, load_yaml
from pipelines.config.loader import from_mapping
from pipelines.data import PrepareConfig, PreparedData, training_batches
from pipelines.data.preparation import channel_statistics, with_transform
from pipelines.data.prepared import Split, checksum_of
from pipelines.errors import UserError
from pipelines.evaluation.entropy import intensity_entropy
from pipelines.experiments.related import RelatedConfig
from pipelines.experiments.related.gradients import least_agreement, ready_position
from pipelines.experiments.related.job import prepare_config
from pipelines.experiments.related.system import Context, Role, System
from pipelines.experiments.related.systems import SYSTEMS, build_system
from pipelines.experiments.related.systems.dacnn import Dacnn
from pipelines.experiments.related.systems.ebcle import Ebcle
from pipelines.experiments.related.systems.expandnets import distillation
from pipelines.models import build_from_spec, build_model_for, count_parameters, spec_of
from pipelines.training import StepFacts, build_optimizer, compute_gradients
from tests.configs import make_densenet, make_recipe
from tests.imports import ROOT

CONFIG = load_section(RelatedConfig, "related", ROOT / "params.yaml")
SEED = 1
CLASSIFIERS = [name for name in SYSTEMS if SYSTEMS[name].score == "test_accuracy"]
# Contracts do not depend on the size of a network.
SMALL: dict[str, dict[str, object]] = {
    "ucp_mseb": {"model": "densenet10"},
    "direct_quantization": {"model": "densenet10"},
    "ebcle": {"depth": 8},
    "ldce": {"noises": {"pair": [45]}},
    "degraded": {"kinds": ["noise"]},
}


def small_system(name: str) -> System:
    """Return the system as in params.yaml, with a small network where that one is large."""
    entry = CONFIG.systems[name]
    assert isinstance(entry, dict)
    return build_system(dataclasses.replace(CONFIG, systems={name: entry | SMALL.get(name, {})}), name)


def make_data(size: int = 8, num_images: int = 24) -> PreparedData:
    """Return grey random images of three classes."""
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randint(0, 256, (num_images, 1, size, size), generator=generator).to(torch.uint8)
    split = Split(images, torch.arange(num_images) % 3)
    parts = {"train": split, "validation": split, "test": split}
    names = ("a", "b", "c")
    mean, std = channel_statistics(images)
    checksum = checksum_of(parts, names)
    return PreparedData(name="random", class_names=names, mean=mean, std=std, checksum=checksum, **parts)


def networks(
    system: System, data: PreparedData, wanted: str | None = None
) -> dict[str, tuple[nn.Module, Context]]:
    """Return the network that each variant trains, untrained, with its context; of `wanted` and its sources alone."""
    needed: set[str | None] = {wanted}
    for variant in reversed(system.variants()):
        needed |= {variant.after} if wanted is None or variant.name in needed else set()
    built: dict[str, tuple[nn.Module, Context]] = {}
    for variant in system.variants():
        if wanted is not None and variant.name not in needed:
            continue
        source = None
        if variant.after is not None:
            source = built[variant.after][0].eval()
        seen = data if variant.transform is None else with_transform(data, variant.transform)
        seen = seen if variant.data is None else variant.data(seen, SEED)
        context = Context(data=seen, seed=SEED, source=source, prepared=data)
        network = build_model_for(seen, variant.model, make_densenet(growth_rate=4), SEED)
        if variant.change is not None:
            network = variant.change(network, context)
        built[variant.name] = (network, context)
    return built


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_is_in_the_parameters_and_says_what_it_claims(name: str) -> None:
    system = build_system(CONFIG, name)
    roles = [variant.role for variant in system.variants()]
    assert roles.count(Role.BASELINE) >= 1
    assert roles.count(Role.SYSTEM) >= 1
    assert any(pair.counted for pair in system.comparisons())
    assert system.claim.endswith(".")
    assert system.source


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_variants_of_a_system_train_and_finish_as_what_they_are(name: str) -> None:
    system = small_system(name)
    for variant in system.variants():
        # Built anew: a variant after this one may change what it gets.
        network, context = networks(system, make_data(), variant.name)[variant.name]
        optimizer = build_optimizer(network, make_recipe(learning_rate=0.01))
        images = torch.randn(
            6, context.data.num_channels, 8, 8, generator=torch.Generator().manual_seed(SEED)
        )
        labels = torch.arange(6) % 3
        objective = None if variant.objective is None else variant.objective(context)
        before = [parameter.detach().clone() for parameter in network.parameters()]
        facts = StepFacts(indices=torch.arange(6), epoch=0)
        loss, logits = compute_gradients(
            network.train(), optimizer, images, labels, objective=objective, facts=facts
        )
        optimizer.step()
        assert len(logits) == 6
        with torch.inference_mode():
            assert network.eval()(images).shape == (6, 3)
        assert float(loss) > 0
        moved = zip(before, network.parameters(), strict=True)
        assert any(not torch.equal(old, new) for old, new in moved), variant.name
        if variant.finish is not None:
            with torch.inference_mode():
                wanted = network.eval()(images)
                found = variant.finish(network).eval()(images)
            # The bound on a contraction, relative where logits are large.
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5, msg=variant.name)


@pytest.mark.parametrize(
    ("system", "changes", "message"),
    [
        ("nothing", {}, "related.systems: 'nothing' is no known system; known: "),
        (
            "dacnn",
            {"depth": 2},
            "related.systems.dacnn.depth: 2 is not allowed; allowed: a whole number of at least 6",
        ),
        ("dacnn", {"wide": 2}, "related.systems.dacnn.wide: unknown key (value 2); allowed: depth, "),
        ("expandnets", {"kernel": 3}, "related.systems.expandnets.kernel: 3 is not allowed; allowed: 5, 7"),
        (
            "ucp_mseb",
            {"other_percents": [30, 50]},
            "related.systems.ucp_mseb.other_percents: [30, 50] is not allowed; allowed: other rates than",
        ),
        (
            "direct_quantization",
            {"bits": 5},
            "related.systems.direct_quantization.bits: 5 is not allowed; allowed: a whole number of at least 1",
        ),
        (
            "ebcle",
            {"layers_per_bit": 0.0},
            "related.systems.ebcle.layers_per_bit: 0.0 is not allowed; allowed: a number above 0",
        ),
        (
            "ldce",
            {"noises": {"pair": [45, 50]}},
            "related.systems.ldce.percent: 50 is not allowed; allowed: a whole number of at least 1, at most 49",
        ),
        (
            "ldce",
            {"noises": {}},
            "related.systems.ldce.noises: {} is not allowed; allowed: percents by kind, of symmetric, pair",
        ),
        (
            "degraded",
            {"kinds": ["jpeg", "fog"]},
            "related.systems.degraded.kinds: ['jpeg', 'fog'] is not allowed; allowed: some of jpeg, noise, blur",
        ),
        (
            "degraded",
            {"depth": 3},
            "related.systems.degraded.depth: 3 is not allowed; allowed: a whole number of at least 4, at most 6",
        ),
        (
            "ldce",
            {"q": 0.0},
            "related.systems.ldce.q: 0.0 is not allowed; allowed: a number above 0, at most 1",
        ),
        (
            "decnn",
            {"search": {}},
            "related.systems.decnn.search.population: this key is missing; expected a whole number",
        ),
        (
            "decnn",
            {"swarm": {"length": 9, "most_full": 9}},
            "related.systems.decnn.swarm.most_full: 9 is not allowed; allowed: a whole number of at least 1",
        ),
        (
            "ga_pso",
            {"densenet": "resnet18"},
            "related.systems.ga_pso.densenet: 'resnet18' is not allowed; allowed: a DenseNet",
        ),
        (
            "wavelet_edges",
            {"use": "hung"},
            "related.systems.wavelet_edges.use: 'hung' is not allowed; allowed: added",
        ),
    ],
)
def test_a_wrong_parameter_is_named_in_one_line(
    system: str, changes: dict[str, object], message: str
) -> None:
    entry = CONFIG.systems.get(system, {})
    assert isinstance(entry, dict)
    config = dataclasses.replace(CONFIG, systems={system: {**entry, **changes}})
    with pytest.raises(UserError) as caught:
        build_system(config, system)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"seeds": [1, 2]},
            "related.seeds: [1, 2] is not allowed; allowed: different values, at least 3 of them",
        ),
        (
            {"worker_seeds": [4]},
            "related.worker_seeds: [4] is not allowed; allowed: some of the seeds: 1, 2, 3",
        ),
        ({"systems": {}}, "related.systems: {} is not allowed; allowed: at least one system"),
        ({"compressed": "sdp"}, "related.compressed: 'sdp' is not allowed; allowed: another method"),
    ],
)
def test_a_wrong_value_of_the_section_is_named_in_one_line(changes: dict[str, object], message: str) -> None:
    section = load_yaml(ROOT / "params.yaml")["related"]
    with pytest.raises(UserError) as caught:
        from_mapping(RelatedConfig, section | changes, "related")
    assert str(caught.value).startswith(message)


def test_distillation_is_the_sum_over_classes_written_out() -> None:
    """Against a loop over images and classes in float64."""
    generator = torch.Generator().manual_seed(SEED)
    logits = torch.randn(4, 3, generator=generator)
    labels = torch.tensor([0, 2, 1, 1])
    images = torch.randn(4, 5, generator=generator)
    teacher = nn.Linear(5, 3)
    temperature, weight = 4.0, 0.9
    context = Context(data=make_data(), seed=SEED, source=teacher)
    found = distillation(context, temperature=temperature, weight=weight)(logits, labels, images)

    def softmax(values: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        powers = np.exp(values - values.max())
        return np.asarray(powers / powers.sum())

    total = 0.0
    wanted = teacher(images).detach().double().numpy()
    for row, label, target in zip(logits.double().numpy(), labels.tolist(), wanted, strict=True):
        p, q = softmax(target / temperature), softmax(row / temperature)
        divergence = sum(p[k] * (np.log(p[k]) - np.log(q[k])) for k in range(3))
        total += weight * temperature**2 * divergence - (1 - weight) * float(np.log(softmax(row)[label]))
    assert float(found) == pytest.approx(total / 4, rel=1e-5)  # float32 of a dozen terms


def test_sharing_is_the_plain_network_with_equal_kernels() -> None:
    system = build_system(CONFIG, "dacnn")
    assert isinstance(system, Dacnn)
    built = networks(system, make_data())
    plain, shared = built["plain"][0].eval(), built["shared"][0].eval()
    depth, width = system.options.depth, system.options.width
    assert count_parameters(plain) - count_parameters(shared) == (depth - 2) * 9 * width**2
    kernel = shared.get_parameter("shared.0.weight")
    state = {
        name: kernel if name.startswith("shared.") else shared.state_dict()[name]
        for name in plain.state_dict()
    }
    plain.load_state_dict(state)
    images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(SEED))
    with torch.inference_mode():
        torch.testing.assert_close(plain(images), shared(images), rtol=0, atol=0)


def test_a_shared_kernel_is_ready_when_the_backward_pass_ends() -> None:
    built = networks(build_system(CONFIG, "dacnn"), make_data())
    images, labels = torch.randn(4, 1, 8, 8), torch.arange(4) % 3
    plain, shared = (ready_position(built[name][0], images, labels) for name in ("plain", "shared"))
    # Equal kernels spread over the pass are ready in the middle of it on average, one for all near its end.
    assert plain == pytest.approx(0.5, abs=0.15)
    assert shared > 0.85


def test_the_agreement_of_gradients_is_the_least_cosine_of_all_pairs() -> None:
    """Of a linear classifier, whose gradient is written out: (softmax - one-hot) times the input, batch means."""
    data = make_data(num_images=64)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3, bias=False))
    weight = network[1].weight.detach().double()
    gradients = []
    for images, labels in training_batches(data, 32, seed=SEED, device="cpu", augment=None):
        inputs = images.flatten(1).double()
        errors = torch.softmax(inputs @ weight.T, 1) - functional.one_hot(labels, 3)
        gradients.append((errors.T @ inputs / len(labels)).flatten().numpy())
    first, second = gradients
    cosine = first @ second / np.sqrt((first @ first) * (second @ second))
    assert least_agreement(network, data, SEED) == pytest.approx(
        cosine, abs=1e-5
    )  # float32 sums of 192 terms


def test_the_edges_are_all_that_differs_between_the_inputs() -> None:
    built = networks(build_system(CONFIG, "wavelet_edges"), make_data())
    image = built["image"][1].data
    for name in ("reconstruction", "maxima", "sobel"):
        data = built[name][1].data
        assert data.num_channels == 2 * image.num_channels
        assert torch.equal(data.test.images[:, :1], image.test.images)
        assert torch.equal(data.test.labels, image.test.labels)
        assert data.checksum != image.checksum
        added = count_parameters(built[name][0]) - count_parameters(built["image"][0])
        assert added == 9 * built["image"][0].get_parameter("stem.weight").shape[0]


def test_every_pruned_network_has_the_shape_of_the_one_made_by_hand() -> None:
    built = networks(small_system("ucp_mseb"), make_data())
    shapes = {
        name: [tuple(parameter.shape) for parameter in built[name][0].parameters()]
        for name in ("by_hand", "ucp", "ucp_tuned", "magnitude", "magnitude_tuned", "random_tuned")
    }
    assert all(shape == shapes["by_hand"] for shape in shapes.values())
    # From scratch what remains starts where the whole network does, fine-tuned where the source is.
    whole, ucp = (built[name][0].get_parameter("blocks.0.layers.0.reuse.weight") for name in ("whole", "ucp"))
    kept = [any(torch.equal(one, other) for other in whole) for one in ucp]
    assert len(kept) == len(whole) // 2
    assert all(kept)


def test_a_quantized_network_is_as_accurate_from_its_file() -> None:
    system = small_system("direct_quantization")
    data = make_data()
    sizes = {}
    for name in ("float", "dq1", "dq"):
        network, context = networks(system, data, name)[name]
        network(torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(SEED)))
        network.eval()
        row = system.extra(system.variant(name), network, network, context)
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.mean, data.std))
        with torch.inference_mode():
            logits = network((data.test.images / 255 - mean) / std)
        expected = float((logits.argmax(1) == data.test.labels).float().mean())
        assert row["exported_test_accuracy"] == pytest.approx(expected)
        sizes[name] = row["exported_bytes"]
    assert sizes["dq1"] < sizes["dq"] < sizes["float"]


def test_the_bound_decides_the_depth_and_broadening_keeps_the_parameters() -> None:
    system = small_system("ebcle")
    assert isinstance(system, Ebcle)
    data = make_data()
    built = networks(system, data)
    bits = intensity_entropy(data.train.images)[0]
    depth = min(max(round(system.options.layers_per_bit * bits), 3), system.options.depth)
    deep = built["deep"][0]
    for name in ("bounded", "bounded_narrow"):
        assert len(built[name][0].layers) == depth
    # Half a step of a width of about 16.
    assert abs(count_parameters(built["bounded"][0]) / count_parameters(deep) - 1) < 1 / 15
    row = system.extra(system.variant("deep"), deep.eval(), deep, built["deep"][1])
    assert row["intensity_entropy_bits"] == pytest.approx(bits)
    assert 1 <= row["useful_layers"] <= row["num_layers"] == system.options.depth


def test_both_ends_of_the_space_have_the_blocks_that_were_found() -> None:
    system = small_system("ga_pso")
    found = "blocks_2k6x5_3k8x1a"
    source = build_model_for(make_data(), found, make_densenet(), SEED)
    row = system.extra(system.variant("ga_pso"), source, source, context_of(source))
    assert row == {
        "structure": found,
        "num_blocks": 2,
        "num_layers": 5,
        "growth_rate": (2 * 6 + 3 * 8) / 5,
        "shortcut_share": (2 + 3) / 9,  # 101 and 011010
    }
    for name, model, share in (("dense", "blocks_2k6x7_3k8x3f", 1.0), ("chain", "blocks_2k6x0_3k8x00", 0.0)):
        variant = system.variant(name)
        assert (variant.after, variant.change is not None) == ("ga_pso", True)
        assert variant.change is not None
        network = variant.change(source, context_of(source))
        assert spec_of(network).name == model
        assert spec_of(network).seed == SEED
        row = system.extra(variant, network, network, context_of(source))
        assert (row["structure"], row["shortcut_share"]) == (model, share)


def test_the_densenet_beside_a_found_network_has_its_size_and_a_specification_to_be_rebuilt_from() -> None:
    system = small_system("ga_pso")
    data = make_data()
    source = build_model_for(data, "blocks_3k9x2f_4k12x3ff", make_densenet(), SEED)
    variant = system.variant("densenet")
    fresh = build_model_for(data, variant.model, make_densenet(), SEED)
    assert variant.change is not None
    network = variant.change(fresh, context_of(source))
    spec = spec_of(network)
    assert spec.densenet is not None
    assert spec.name == variant.model
    rate = spec.densenet.growth_rate
    sizes = {
        growth: count_parameters(build_model_for(data, spec.name, make_densenet(growth_rate=growth), SEED))
        for growth in (rate - 1, rate, rate + 1)
    }
    assert min(sizes, key=lambda growth: abs(sizes[growth] - count_parameters(source))) == rate
    assert count_parameters(network) == sizes[rate]
    again = build_from_spec(spec)
    assert all(
        torch.equal(one, two) for one, two in zip(network.parameters(), again.parameters(), strict=True)
    )


def context_of(source: nn.Module) -> Context:
    return Context(data=make_data(), seed=SEED, source=source)


@pytest.mark.parametrize("name", ["decnn", "ga_pso"])
def test_every_search_of_a_system_has_the_same_budget_and_the_space_that_its_model_is_of(name: str) -> None:
    system = build_system(CONFIG, name)
    searches = {one.name: one.search for one in system.variants() if one.search is not None}
    assert {"random", name} < set(searches)
    budgets = {(search.config.evaluations, search.config.seconds) for search in searches.values() if search}
    assert len(budgets) == 1
    for variant in system.variants():
        if variant.search is None:
            continue
        names = next(variant.search.propose(np.random.default_rng(SEED)))
        assert {one.split("_")[0] for one in names} == {variant.model.split("_")[0]}


def test_a_data_set_is_prepared_from_its_source() -> None:
    prepare = load_section(PrepareConfig, "prepare", ROOT / "params.yaml")
    varied = dataclasses.replace(CONFIG, digits=dataclasses.replace(CONFIG.digits, source="digits_rotated"))
    assert prepare_config(prepare, CONFIG, "digits").name == "digits"
    assert prepare_config(prepare, varied, "digits").name == "digits_rotated"
    wrong = dataclasses.replace(CONFIG, digits=dataclasses.replace(CONFIG.digits, source="mnist"))
    with pytest.raises(
        UserError, match=r"related.digits.source: 'mnist' is not allowed; allowed: null, .*convex"
    ):
        prepare_config(prepare, wrong, "digits")
