"""Degraded images: a classifier that gets the image and how much it is degraded, known or estimated."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.config import different, number, require, whole
from pipelines.config.validate import MOST_WIDTH
from pipelines.data import PreparedData, ordered_batches
from pipelines.data.degradations import KINDS
from pipelines.experiments.related.degraded_data import PARAMETER_STD, at_level, degraded_data
from pipelines.experiments.related.system import (
    MOST_FACTOR,
    SYSTEMS,
    Comparison,
    Context,
    Role,
    System,
    Variant,
)
from pipelines.models import build_from_spec, spec_of
from pipelines.models.degraded import (
    Fronted,
    Restorer,
    append_channel,
    estimator,
    parameter_of,
    replace_images,
    scale_first_maps,
)
from pipelines.results import Row
from pipelines.tables import Column, decimal, percent
from pipelines.training import Objective, loss_and_accuracy, predict_logits

BATCH_SIZE = 256
TESTED_LEVELS = (0, 20, 40, 60, 80, 100)
"""Those of `LEVELS` that the whole test part is degraded by, each."""
OVER_LEVELS = "levels_accuracy"


@dataclass(frozen=True, kw_only=True)
class DegradedOptions:
    """Parameters of degraded images; `related.systems.degraded`."""

    model: str
    """Model that classifies."""
    kinds: tuple[str, ...]
    """Kinds of degradation, each with variants of its own: jpeg, noise, blur."""
    depth: int
    """Convolutions of the estimator of the parameter and of the restoration network: 4 to 6."""
    width: int
    """Channels of both."""
    epochs: float
    """Epochs of every variant, in units of those of the data set."""

    def __post_init__(self) -> None:
        different(self, "kinds", least=1)
        known = set(self.kinds) <= set(KINDS)
        require(known, "kinds", list(self.kinds), f"some of {', '.join(KINDS)}")
        whole(self, "depth", least=4, most=6)
        whole(self, "width", most=MOST_WIDTH)
        number(self, "epochs", above=0.0, most=MOST_FACTOR)


@SYSTEMS.register("degraded")
class Degraded(System):
    """Networks with the parameter of the degradation, against ones without it and behind a restoration."""

    Options = DegradedOptions
    options: DegradedOptions
    source: ClassVar[str] = (
        "Endo, Tanaka and Okutomi, Classifying degraded images over various levels of degradation, Electronic Imaging "
        "2020"
    )
    claim: ClassVar[str] = (
        "A classifier that gets the degraded image and its degradation parameter, estimated where it is unknown, is "
        "more accurate than one that is trained on degraded images alone."
    )
    from_abstract: ClassVar[bool] = True
    columns: ClassVar[Sequence[Column]] = (
        Column(OVER_LEVELS, "accuracy over all levels", percent, max),
        *(Column(f"level{level}_accuracy", f"at {level / 100:g}", percent, max) for level in TESTED_LEVELS),
        Column("parameter_error", "error of the parameter", decimal, min),
        Column("restored_decibels", "PSNR gained, dB", decimal, max),
    )

    def variants(self) -> Sequence[Variant]:
        """Return for every kind the networks that differ in what they get and are trained on."""
        options = self.options
        depth, width = options.depth, options.width
        estimated: dict[str, Any] = {
            "change": partial(estimating, depth=depth, width=width),
            "objective": estimating_objective,
        }
        restored: dict[str, Any] = {
            "change": partial(restoring, depth=depth, width=width),
            "objective": restoring_objective,
        }
        table: list[tuple[str, Role, str, str, dict[str, Any]]] = [
            ("degraded", Role.BASELINE, "trained on degraded images", "image", {}),
            ("clean", Role.PEER, "trained on clean images", "clean", {}),
            ("restored", Role.PEER, "behind a restoration network", "restoration", restored),
            ("true", Role.SYSTEM, "with the true parameter as a channel", "parameter", {}),
            ("estimated", Role.SYSTEM, "with the estimated parameter as a channel", "parameter", estimated),
            ("constant", Role.ABLATION, "with a channel that is always the same", "constant", {}),
            (
                "scaled",
                Role.ABLATION,
                "with the true parameter scaling and shifting the first maps",
                "parameter",
                {"change": scaled},
            ),
        ]
        return [
            Variant(
                name=f"{stem}_{kind}",
                setting=kind,
                role=role,
                what=f"{kind}: {what}",
                model=options.model,
                data=partial(degraded_data, kind=kind, layout=layout),
                epochs=options.epochs,
                # One kind is enough for what they are trained for: the gradients of each variant under GQ.
                on_workers=kind == options.kinds[0],
                **more,
            )
            for kind in options.kinds
            for stem, role, what, layout, more in table
        ]

    def comparisons(self) -> Sequence[Comparison]:
        """Return that the estimated parameter beats the image alone, over all levels of each kind."""
        pairs: list[Comparison] = []
        for kind in self.options.kinds:
            over = partial(Comparison, key=OVER_LEVELS)
            pairs.append(over(first=f"estimated_{kind}", second=f"degraded_{kind}"))
            pairs += [
                over(first=f"{first}_{kind}", second=f"{second}_{kind}", counted=False)
                for first, second in (
                    ("true", "degraded"),
                    ("true", "estimated"),
                    ("estimated", "constant"),
                    ("estimated", "restored"),
                    ("true", "scaled"),
                    ("degraded", "clean"),
                )
            ]
            # What training on degraded images costs on good ones.
            pairs.append(
                Comparison(
                    first=f"clean_{kind}", second=f"degraded_{kind}", key="level0_accuracy", counted=False
                )
            )
        return pairs

    def extra(self, variant: Variant, trained: nn.Module, network: nn.Module, context: Context) -> Row:  # noqa: ARG002
        """Return the accuracy at each level, all test images being degraded by it, and what a front is worth."""
        assert context.prepared is not None
        assert isinstance(variant.data, partial)
        how = variant.data.keywords
        row: Row = {}
        for level in TESTED_LEVELS:
            split = at_level(context.prepared, level, **how)
            logits = predict_logits(network, split, context.data, batch_size=BATCH_SIZE)
            row[f"level{level}_accuracy"] = loss_and_accuracy(logits, split.labels)[1]
        row[OVER_LEVELS] = float(np.mean(list(row.values())))
        if isinstance(network, Fronted):
            row |= front_errors(network, context.data)
        return row


def image_channels(context: Context) -> int:
    """Return the channels of the images, without those that the variant's data have behind them."""
    assert context.prepared is not None
    return context.prepared.num_channels


def estimating(model: nn.Module, context: Context, *, depth: int, width: int) -> nn.Module:
    """Return `model`, made for images and parameter, behind an estimator of the parameter."""
    channels = image_channels(context)
    return Fronted(estimator(channels, depth, width), model, channels, append_channel)


def restoring(model: nn.Module, context: Context, *, depth: int, width: int) -> nn.Module:
    """Return a network like `model`, for images alone, behind one that restores them."""
    channels = image_channels(context)
    return Fronted(Restorer(channels, depth, width), _for_images(model, context), channels, replace_images)


def scaled(model: nn.Module, context: Context) -> nn.Module:
    """Return a network like `model`, for images alone, whose first maps the parameter scales and shifts."""
    network = scale_first_maps(_for_images(model, context))
    network.spec = spec_of(model)  # type: ignore[assignment]  # it reads the parameter, too
    return network


def estimating_objective(context: Context) -> Objective:
    """Return the cross-entropy plus the squared error of the estimate, in standard deviations of the parameter."""
    return partial(_with_front, classes=context.data.num_classes, target=_parameter_target)


def restoring_objective(context: Context) -> Objective:
    """Return the cross-entropy plus the mean squared error of the restored pixels, as they are normalised."""
    return partial(_with_front, classes=context.data.num_classes, target=_clean_target)


def _parameter_target(images: Tensor) -> Tensor:
    return parameter_of(images)[:, None]


def _clean_target(images: Tensor) -> Tensor:
    return images[:, images.shape[1] // 2 :].flatten(1)


def _with_front(logits: Tensor, labels: Tensor, images: Tensor, *, classes: int, target: Any) -> Tensor:
    given = logits[:, classes:]
    return functional.cross_entropy(logits[:, :classes], labels) + functional.mse_loss(given, target(images))


def front_errors(network: Fronted, data: PreparedData) -> Row:
    """Return what the front is worth on the test part.

    parameter_error: root mean squared error of the parameter, in 0..1. restored_decibels: by how much the peak signal
    to noise ratio of all pixels rises.
    """
    restores = isinstance(network.front, Restorer)
    device = next(network.parameters()).device
    before = after = 0.0
    count = 0
    network.eval()
    with torch.inference_mode():
        for images, _ in ordered_batches(data.test, data, BATCH_SIZE, device):
            own = images[:, : network.num_channels]
            target = _clean_target(images) if restores else _parameter_target(images)
            given = network.front(own).flatten(1)
            after += float((given - target).double().square().sum())
            before += float((own.flatten(1) - target).double().square().sum()) if restores else 0.0
            count += target.numel()
    if restores:
        return {"restored_decibels": 10 * float(np.log10(before / after)) if before and after else None}
    return {"parameter_error": PARAMETER_STD * (after / count) ** 0.5}


def _for_images(model: nn.Module, context: Context) -> nn.Module:
    return build_from_spec(replace(spec_of(model), num_channels=image_channels(context)))
