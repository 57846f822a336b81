"""The last layer of a network: where it is, and dropout before it.

`compact3-dropout50` drops half of what its classifier reads (Srivastava et al. 2014), with the parameters of `compact3`
under the same names: the weights of the one fit into the other.
"""

from torch import Tensor, nn
from torch.nn import functional

from pipelines.errors import UserError
from pipelines.models.base import VARIANTS, add_variant

VARIANT = "dropout"
CLASSIFIERS = ("classifier", "fc")
"""What the last layer is called in this suite and in torchvision."""


def classifier_of(model: nn.Module) -> str:
    """Return the name of the last layer of `model`: its child of the usual name, or what owns its last parameter."""
    children = dict(model.named_children())
    for name in CLASSIFIERS:
        if name in children:
            return name
    *_, last = (name for name, _ in model.named_parameters())
    return last.rpartition(".")[0]


class DroppedLinear(nn.Linear):
    """A linear layer that in training mode drops a part `rate` of its inputs, the others times 1 / (1 - rate)."""

    rate: float

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the layer's outputs [b, outputs] of `inputs` [b, inputs]."""
        return super().forward(functional.dropout(inputs, self.rate, self.training))


@VARIANTS.register(VARIANT)
def add_dropout(model: nn.Module, percent: int) -> nn.Module:
    """Let the classifier of `model` drop `percent` of its inputs, in place, and return the model.

    Raises UserError where that is not 1 to 99, and where the classifier is no plain linear layer.
    """
    inside = model.get_submodule(classifier_of(model)).modules()
    layers = [module for module in inside if isinstance(module, nn.Linear)]
    if not 1 <= percent <= 99 or not layers or type(layers[-1]) is not nn.Linear:
        raise UserError(
            f"baseline.models: {VARIANT}{percent} is not allowed here; allowed: {VARIANT}1 to {VARIANT}99 for a model "
            "that ends in a linear layer, before variants that change that layer"
        )
    layer = layers[-1]
    layer.__class__ = DroppedLinear
    layer.rate = percent / 100  # type: ignore[assignment]
    add_variant(model, VARIANT, percent)
    return model
