"""Fashion by four approaches that add up: a small network, dropout, augmentation, transfer learning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from pipelines.config import choice, different, number, require, whole
from pipelines.config.validate import MOST_IMAGES
from pipelines.data import AugmentConfig, PrepareConfig, PreparedData, Split
from pipelines.experiments.related.config import DATA_SETS
from pipelines.experiments.related.system import (
    MOST_FACTOR,
    SYSTEMS,
    Comparison,
    Context,
    Published,
    Role,
    System,
    Variant,
)
from pipelines.figures import color_of, figure, plain
from pipelines.results import Row
from pipelines.tables import Column, percent
from pipelines.training import copy_fitting, predict_logits
from pipelines.training.freezing import ALL

BATCH_SIZE = 256
PLAIN = AugmentConfig(crop_padding=0, flip=False, cutout=0)
EASIER = frozenset({"Trouser", "Sandal", "Sneaker", "Ankle boot", "Bag"})
"""Trousers, shoes, and bags for the paper's hats, which Fashion-MNIST has not."""
UPPER = frozenset({"T-shirt/top", "Pullover", "Coat", "Shirt"})
"""Clothes of the upper body; a dress is neither."""
CLASS_KEY = "accuracy of "
"""What the key of a class's accuracy begins with; the class's name follows."""
SOURCES = ("cifar10", "fashion_mnist")


@dataclass(frozen=True, kw_only=True)
class FashionFourOptions:
    """Parameters of the four approaches; `related.systems.fashion_four`."""

    model: str
    """Registered model, the small network."""
    dropout: int
    """Percent of what the classifier reads that is dropped (paper: 50)."""
    augment: dict[str, AugmentConfig]
    """Random changes to the training images by data set, from the third approach on."""
    epochs: float
    """Epochs of every variant in units of those of the data set: dropout and augmentation pay when training is long."""
    source_images: int
    """Images, validation included, of the set that the transferred network is trained on first."""
    frozen: tuple[str, ...]
    """Layers that the fourth approach takes over and freezes, as in recipe.frozen."""
    released: tuple[str, ...]
    """Those of them, the last block, that are released."""
    release_after: float
    """Part of the epochs after which they are."""

    def __post_init__(self) -> None:
        whole(self, "dropout", most=99)
        number(self, "epochs", above=0.0, most=MOST_FACTOR)
        whole(self, "source_images", most=MOST_IMAGES)
        number(self, "release_after", above=0.0, below=1.0)
        different(self, "frozen", "released", least=1)
        inside = all(any(one in (ALL, name[: len(one)]) for one in self.frozen) for name in self.released)
        fits = inside and not set(self.frozen) & set(self.released)
        require(fits, "released", list(self.released), "layers inside those of frozen")
        for data in self.augment:
            choice("augment", data, DATA_SETS)


@SYSTEMS.register("fashion_four")
class FashionFour(System):
    """The four approaches one on top of the other, and the network that the last one starts from."""

    Options = FashionFourOptions
    options: FashionFourOptions
    source: ClassVar[str] = (
        "Rohrmanstorfer, Komarov and Moedritscher, Image Classification for the Automatic Feature Extraction in Human "
        "Worn Fashion Data, Mathematics 2021, 9, 624"
    )
    claim: ClassVar[str] = (
        "Dropout, augmentation and transfer learning raise the accuracy on a small set of photographs, and trousers, "
        "shoes and hats are easier than clothes of the upper body."
    )
    from_abstract: ClassVar[bool] = True
    columns: ClassVar[Sequence[Column]] = (
        Column("easier_accuracy", "trousers, shoes, bags", percent),
        Column("upper_accuracy", "upper body", percent),
    )
    picture: ClassVar[str | None] = "accuracy by class"

    def variants(self) -> Sequence[Variant]:
        """Return the source, the four approaches, and the fourth one with nothing released."""
        options = self.options
        without = dict.fromkeys(DATA_SETS, PLAIN)
        augment = without | options.augment
        dropped = f"{options.model}-dropout{options.dropout}"
        frozen: dict[str, float | None] = dict.fromkeys(options.frozen, None)
        released = frozen | dict.fromkeys(options.released, options.release_after)

        def approach(
            name: str, role: Role, what: str, model: str, changes: Mapping[str, AugmentConfig]
        ) -> Variant:
            return Variant(
                name=name, role=role, what=what, model=model, augment=changes, epochs=options.epochs
            )

        # No baseline: its accuracy is that on its own images.
        source = approach("source", Role.ABLATION, "trained and tested on other images", dropped, augment)
        cnn = approach("cnn", Role.BASELINE, "1: a small network", options.model, without)
        augmented = approach("augmented", Role.ABLATION, "3: and augmentation", dropped, augment)
        transfer = replace(augmented, after="source", change=transferred)
        return [
            replace(source, images=self.other_images, on_workers=False),
            replace(cnn, published=published(69.0)),
            approach("dropout", Role.ABLATION, "2: and dropout", dropped, without),
            augmented,
            replace(transfer, name="frozen", what="4: and transfer, all of it frozen", frozen=frozen),
            replace(
                transfer,
                name="transfer",
                role=Role.SYSTEM,
                what="4: and transfer, the last block released",
                frozen=released,
                published=published(84.0),
            ),
        ]

    def comparisons(self) -> Sequence[Comparison]:
        """Return that all three together raise the accuracy, and the classes' order; the single steps to look at."""
        steps = [
            ("dropout", "cnn"),
            ("augmented", "dropout"),
            ("transfer", "augmented"),
            ("transfer", "frozen"),
        ]
        return [
            Comparison(first="transfer", second="cnn"),
            Comparison(
                first="transfer",
                second="transfer",
                key="easier_accuracy",
                second_key="upper_accuracy",
                data=("fashion_mnist",),
            ),
            *(Comparison(first=first, second=second, counted=False) for first, second in steps),
        ]

    def other_images(self, data: PreparedData, prepare: PrepareConfig) -> PreparedData:
        """Return what the network to transfer is trained on: another set that is here, in the shape of `data`.

        CIFAR-10, on itself Fashion-MNIST; where neither is here, the classes of even number of `data` itself, which
        are fewer images and not further ones. The name stays that of `data`, which they serve.
        """
        # Late: the data sources behind it take a second to import, and most variants need none.
        from pipelines.data.others import in_shape_of, is_here

        for name in SOURCES:
            if name != data.name and is_here(name, prepare):
                other = in_shape_of(data, name, prepare, self.options.source_images)
                return replace(other, name=data.name)
        return even_classes(data)

    def extra(self, variant: Variant, trained: nn.Module, network: nn.Module, context: Context) -> Row:  # noqa: ARG002
        """Return the test accuracy of each class, and on Fashion-MNIST the means of the two groups.

        The names of the classes tell which images the source was trained on.
        """
        data = context.data
        logits = predict_logits(network, data.test, data, batch_size=BATCH_SIZE)
        accuracies = class_accuracies(logits.argmax(1), data.test.labels, data.class_names)
        row: Row = {"class_names": ", ".join(data.class_names)}
        row |= {f"{CLASS_KEY}{name}": accuracy for name, accuracy in accuracies.items()}
        if accuracies.keys() >= EASIER | UPPER:
            for key, names in (("easier_accuracy", EASIER), ("upper_accuracy", UPPER)):
                row[key] = sum(accuracies[name] for name in names) / len(names)
        return row

    def draw(self, rows: Sequence[Row], path: Path) -> None:
        """Draw the accuracy of each class, a colour a variant: mean over seeds, a line from the least to the most."""
        runs = [row for row in rows if row["experiment"] == "run" and row["variant"] != "source"]
        classes = list(dict.fromkeys(key for row in runs for key in row if key.startswith(CLASS_KEY)))
        names = [one.name for one in self.variants() if one.name != "source"]
        with figure(path, 7.2, 0.5 + 0.42 * len(classes)) as drawing:
            axes = drawing.add_subplot()
            for index, name in enumerate(names):
                mine = [row for row in runs if row["variant"] == name and row.get(classes[0]) is not None]
                if not mine:
                    continue
                shift = (index - (len(names) - 1) / 2) * 0.15
                places = [place + shift for place in range(len(classes))]
                values = [[100 * row[key] for row in mine] for key in classes]
                means = [sum(each) / len(each) for each in values]
                axes.hlines(
                    places, [min(each) for each in values], [max(each) for each in values], color_of(index)
                )
                axes.plot(means, places, "o", color=color_of(index), markersize=4, label=plain(name))
            axes.set_yticks(range(len(classes)), [plain(key.removeprefix(CLASS_KEY)) for key in classes])
            axes.invert_yaxis()
            axes.set(xlabel="test accuracy in %", title="Accuracy by class, mean and range over seeds")
            drawing.legend(loc="outside right upper")


def published(percent_right: float) -> dict[str, Published]:
    """Return an accuracy of the paper's."""
    where = "Rohrmanstorfer et al. 2021, validation accuracy on 2,567 photographs of their own"
    return {"fashion_mnist": Published(accuracy_percent=percent_right, source=where)}


def transferred(network: nn.Module, context: Context) -> nn.Module:
    """Return the fresh network with the weights of the source, but for the classifier."""
    copy_fitting(network, context.start.state_dict())
    return network


def even_classes(data: PreparedData) -> PreparedData:
    """Return the images of the classes 0, 2, 4, ... of `data`, numbered anew."""
    from pipelines.data.preparation import with_images

    def even(split: Split) -> Split:
        kept = split.labels % 2 == 0
        return Split(split.images[kept], split.labels[kept] // 2)

    fewer = replace(
        data,
        class_names=data.class_names[::2],
        train=even(data.train),
        validation=even(data.validation),
        test=even(data.test),
    )
    return with_images(fewer, lambda images: images)


def class_accuracies(
    predictions: torch.Tensor, labels: torch.Tensor, class_names: Sequence[str]
) -> dict[str, float]:
    """Return by class the share of its images, int64 labels [n], that are predicted, int64 [n], as it."""
    right = predictions == labels
    return {name: float(right[labels == index].double().mean()) for index, name in enumerate(class_names)}
