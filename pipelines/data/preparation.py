"""From a raw data set to a prepared one: subset, split, statistics, checksums, sample picture."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.data import sources  # noqa: F401 - registers the data sets
from pipelines.data.config import PrepareConfig
from pipelines.data.label_noise import num_wrong, with_label_noise
from pipelines.data.prepared import SPLITS, PreparedData, Split, checksum_of, save_prepared
from pipelines.data.raw import SOURCES, Images, Labels, RawData, check_raw
from pipelines.data.samples import draw_samples
from pipelines.data.split import check_classes, limit, stratified_pick
from pipelines.data.transforms import transform_images
from pipelines.errors import UserError


def prepare(config: PrepareConfig, folder: Path, figure: Path) -> dict[str, Any]:
    """Write the prepared data set to `folder` and a grid of its training images to `figure`.

    Returns a flat summary (sizes, statistics, checksum) for the metrics file. Every mistake of the user (no
    such data, damaged files, too few images) raises UserError.
    """
    data, source = assemble(config)
    summary = _summarise(data, source, config)
    save_prepared(data, folder, summary)
    draw_samples(data, figure)
    return summary


def assemble(config: PrepareConfig) -> tuple[PreparedData, str]:
    """Return the prepared data set, and where it was found; writes nothing, raises as `prepare` does."""
    raw = SOURCES[config.name](config)
    check_raw(raw, config.name)
    splits = {
        name: Split(make_input(images, config), torch.from_numpy(labels))
        for name, (images, labels) in split_raw(raw, config).items()
    }
    height, width = splits["train"].images.shape[-2:]
    if height != width:
        raise UserError(
            f"prepare.image_size: {width} x {height} pixels are not square; set it to the side that images "
            "shall be resized to"
        )
    mean, std = channel_statistics(splits["train"].images)
    data = PreparedData(
        name=config.name,
        class_names=raw.class_names,
        mean=mean,
        std=std,
        checksum=checksum_of(splits, raw.class_names),
        transform=config.transform,
        **splits,
    )
    if config.label_noise is not None:
        data = with_label_noise(data, config.label_noise, config.seed)
    return data, raw.source


def with_images(data: PreparedData, change: Callable[[torch.Tensor], torch.Tensor]) -> PreparedData:
    """Return `data` with images, uint8 [n, c, h, w], that `change` has made of those of each part.

    Statistics and checksum are those of the new images.
    """
    parts = {name: getattr(data, name) for name in SPLITS}
    splits = {name: replace(part, images=change(part.images)) for name, part in parts.items()}
    mean, std = channel_statistics(splits["train"].images)
    checksum = checksum_of(splits, data.class_names)
    return replace(
        data,
        mean=mean,
        std=std,
        checksum=checksum,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
    )


def with_transform(data: PreparedData, transform: str) -> PreparedData:
    """Return prepared data that had no transform as `prepare` makes them with `transform`, but for the files.

    Raises ValueError where they had one.
    """
    if data.transform is not None:
        raise ValueError(f"the images have gone through {data.transform} already")
    changed = with_images(data, lambda images: transform_images(images, transform))
    return replace(changed, transform=transform)


def split_raw(raw: RawData, config: PrepareConfig) -> dict[str, tuple[Images, Labels]]:
    """Return the stratified training, validation and test parts, subset as `config` says.

    The draws depend on `config.seed` alone; where there is no official test split one is drawn first, so
    neither the limits nor the validation split can move an image across the border of the test split.
    """
    generator = np.random.default_rng(config.seed)
    train_images, train_labels = raw.train_images, raw.train_labels
    if raw.test_images is None or raw.test_labels is None:
        check_classes(train_labels, raw.class_names, 3, f"prepare.name: {config.name}")
        num_test = round(config.test_fraction * len(train_labels))
        test, rest = stratified_pick(train_labels, num_test, generator, "prepare.test_fraction")
        test_images, test_labels = train_images[test], train_labels[test]
        train_images, train_labels = train_images[rest], train_labels[rest]
    else:
        test_images, test_labels = raw.test_images, raw.test_labels
        check_classes(train_labels, raw.class_names, 2, f"prepare.name: {config.name} (training part)")
        check_classes(test_labels, raw.class_names, 1, f"prepare.name: {config.name} (test part)")
    kept = limit(train_labels, config.train_limit, generator, "prepare.train_limit")
    num_validation = round(config.validation_fraction * len(kept))
    key = "prepare.validation_fraction"
    validation, train = stratified_pick(train_labels[kept], num_validation, generator, key)
    kept_test = limit(test_labels, config.test_limit, generator, "prepare.test_limit")
    return {
        "train": (train_images[kept[train]], train_labels[kept[train]]),
        "validation": (train_images[kept[validation]], train_labels[kept[validation]]),
        "test": (test_images[kept_test], test_labels[kept_test]),
    }


def make_input(images: Images, config: PrepareConfig) -> torch.Tensor:
    """Return raw images as the uint8 [n, c, h, w] that models are trained on: resized, then transformed."""
    return transform_images(resize(torch.from_numpy(images), config.image_size), config.transform)


def resize(images: torch.Tensor, size: int | None) -> torch.Tensor:
    """Return uint8 [n, c, h, w] as uint8 [n, c, size, size], bilinear with antialiasing; None: as it is."""
    if size is None or tuple(images.shape[-2:]) == (size, size):
        return images
    resized = [
        torch.nn.functional.interpolate(chunk.float(), size=(size, size), mode="bilinear", antialias=True)
        .round_()
        .clamp_(0, 255)
        .to(torch.uint8)
        for chunk in torch.split(images, 1024)  # bounds the memory of the float copy
    ]
    return torch.cat(resized)


def channel_statistics(images: torch.Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and population std per channel of uint8 [n, c, h, w], for pixels in 0..1.

    Pixels are counted per value and summed without rounding (fsum), so the order of images has no influence.
    """
    values = np.arange(256, dtype=np.float64) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = np.bincount(images[:, channel].numpy().ravel(), minlength=256).astype(np.float64)
        mean = math.fsum(counts * values) / counts.sum()
        variance = math.fsum(counts * (values - mean) ** 2) / counts.sum()
        if variance == 0:
            raise UserError(
                f"prepare.name: all training pixels of channel {channel} have the value {mean * 255:.0f}; "
                "images that differ are needed"
            )
        means.append(float(mean))
        stds.append(float(variance**0.5))
    return tuple(means), tuple(stds)


def _summarise(data: PreparedData, source: str, config: PrepareConfig) -> dict[str, Any]:
    return {
        "name": data.name,
        "data_source": source,
        "data_checksum": data.checksum,
        "num_train": len(data.train),
        "num_validation": len(data.validation),
        "num_test": len(data.test),
        "num_classes": data.num_classes,
        "num_channels": data.num_channels,
        "image_size_pixels": data.image_size,
        "channel_mean": list(data.mean),
        "channel_std": list(data.std),
        "transform": config.transform,
        "label_noise_kind": config.label_noise.kind if config.label_noise else None,
        "label_noise_percent": config.label_noise.percent if config.label_noise else None,
        "num_wrong_labels": num_wrong(data.train),
        "seed": config.seed,
    }
