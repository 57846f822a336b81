"""What each layer of a trained network adds: by how much it changes its maps, and how well they tell the classes apart.

A layer is what ends in maps: a convolution with its normalisation and activation in plain, VGG and anchored networks,
a residual block in ResNets.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipelines.errors import UserError
from pipelines.models import spec_of
from pipelines.models.dacnn import AnchoredNet
from pipelines.models.plain import PlainNet
from pipelines.torchvision_compat import torchvision

Features = npt.NDArray[np.float32]
PROBE_ITERATIONS = 500
PROBE_REGULARISATION = 0.1  # scikit-learn's C: the smaller the stronger


@dataclass(frozen=True)
class LayerOutputs:
    """Of every layer, in their order, over some images."""

    names: tuple[str, ...]
    features: tuple[Features, ...]
    """The maps averaged over all pixels, [images, channels]."""
    relative_changes: tuple[float | None, ...]
    """The norm of what the layer changes over that of its input, averaged over images; None: another shape."""


def layer_names(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the modules that end the layers of `model`; UserError for a model that has no such layers."""
    if isinstance(model, PlainNet):
        return tuple(f"layers.{index}" for index in range(len(model.layers)))
    if isinstance(model, AnchoredNet):
        return tuple(f"uses.{index}" for index in range(len(model.uses)))
    if isinstance(model, torchvision.models.ResNet):
        stages = [f"layer{number}" for number in range(1, 5)]
        return tuple(
            f"{one}.{name}" for one in stages for name, _ in model.get_submodule(one).named_children()
        )
    features = getattr(model, "features", None)
    if spec_of(model).name.startswith("vgg") and isinstance(features, nn.Sequential):
        return tuple(
            f"features.{name}" for name, one in features.named_children() if isinstance(one, nn.ReLU)
        )
    raise UserError(
        f"baseline.models: the layers of {spec_of(model).name} cannot be measured one by one; "
        "allowed: plain<depth>, dacnn<depth>, VGG, ResNets"
    )


def layer_outputs(model: nn.Module, batches: Iterable[Tensor]) -> LayerOutputs:
    """Return features and relative changes of every layer of `model` for `batches` of images, as it takes them.

    In evaluation mode; the model is as it was afterwards.
    """
    names = layer_names(model)
    recorder = _Recorder(names)
    handles = [model.get_submodule(name).register_forward_hook(recorder.hook(name)) for name in names]
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for images in batches:
                recorder.previous = None
                model(images)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return LayerOutputs(
        names,
        tuple(torch.cat(recorder.features[name]).numpy() for name in names),
        tuple(float(torch.cat(one).mean()) if (one := recorder.changes[name]) else None for name in names),
    )


class _Recorder:
    """What the hooks of the layers see, batch by batch."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.features: dict[str, list[Tensor]] = {name: [] for name in names}
        self.changes: dict[str, list[Tensor]] = {name: [] for name in names}
        self.previous: Tensor | None = None

    def hook(self, name: str):  # type: ignore[no-untyped-def]
        """Return the hook of the layer called `name`."""

        def record(_module: nn.Module, _inputs: object, maps: Tensor) -> None:
            # The next layer may work in place.
            maps = maps.detach().float().clone()
            self.features[name].append(maps.mean((2, 3)).cpu())
            if self.previous is not None and self.previous.shape == maps.shape:
                change = (maps - self.previous).flatten(1).norm(dim=1)
                self.changes[name].append(
                    (change / self.previous.flatten(1).norm(dim=1).clamp(min=1e-12)).cpu()
                )
            self.previous = maps

        return record


def probe_accuracy(
    train: Features, train_labels: npt.NDArray[np.int64], test: Features, test_labels: npt.NDArray[np.int64]
) -> float:
    """Return the accuracy (0..1) on `test` of a linear classifier of features [n, channels] (Alain and Bengio 2016).

    Logistic regression on standardised features; deterministic.
    """
    # Imported late: it takes two seconds, and most processes that know this module fit nothing.
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=PROBE_REGULARISATION, max_iter=PROBE_ITERATIONS)
    )
    probe.fit(train, train_labels)
    return float(probe.score(test, test_labels))


def useful_depth(accuracies: tuple[float, ...], tolerance: float) -> int:
    """Return the number of layers (from 1) after which probes gain no more than `tolerance` (0..1) to the best."""
    best = max(accuracies)
    return 1 + next(index for index, one in enumerate(accuracies) if one >= best - tolerance)
