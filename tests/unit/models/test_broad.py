"""Plain networks by hand, and shallower ones with the same parameters."""

import pytest
import torch

from pipelines.errors import UserError
from pipelines.models import build_from_spec, count_parameters, spec_of


def plain_parameters(depth: int, width: int, channels: int = 3) -> int:
    """3x3 kernels and batch norms of three stages, and a linear layer of ten classes."""
    widths = [width * 2 ** (3 * place // depth) for place in range(depth)]
    convolutions = sum(9 * i * o for i, o in zip([channels, *widths], widths, strict=False))
    return convolutions + 2 * sum(widths) + 10 * widths[-1] + 10


@pytest.mark.parametrize("depth", [3, 8, 20])
def test_plain_networks_by_hand(build, depth):
    assert count_parameters(build(f"plain{depth}")) == plain_parameters(depth, 16)


@pytest.mark.parametrize(
    ("name", "broad", "tolerance"),
    # Half a step of the width: 1 / width of the parameters, which grow with its square.
    [("plain20", 8, 1 / 27), ("plain20", 32, 1 / 12), ("densenet40", 16, 1 / 20)],
)
def test_the_nearest_width_has_nearly_the_parameters(build, name, broad, tolerance):
    deep, other = build(name, size=8), build(f"{name}-broad{broad}", size=8)
    assert abs(count_parameters(other) / count_parameters(deep) - 1) < tolerance
    if name.startswith("plain"):
        sizes = [plain_parameters(broad, width) for width in range(1, 100)]
        assert count_parameters(other) == min(sizes, key=lambda size: abs(size - count_parameters(deep)))
    assert len([one for one in other.parameters() if one.dim() == 4]) != len(
        [one for one in deep.parameters() if one.dim() == 4]
    )


def test_a_broad_network_is_rebuilt_from_its_specification(build):
    model = build("densenet40-broad10", size=8)
    assert spec_of(model).densenet.growth_rate == 12
    rebuilt = build_from_spec(spec_of(model))
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(rebuilt.eval()(images), model.eval()(images))


def test_what_cannot_be_broadened_is_named(build):
    with pytest.raises(
        UserError, match="resnet18 has no width to change; allowed before broad: plain<depth>"
    ):
        build("resnet18-broad8", size=8)
    with pytest.raises(UserError, match="plain2 is not allowed; allowed: plain3 to plain200"):
        build("plain20-broad2", size=8)
    with pytest.raises(UserError, match="11 fits no block rule"):
        build("densenet40-broad11", size=8)
