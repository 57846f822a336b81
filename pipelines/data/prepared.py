"""The prepared data set as every later stage reads it."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.data.archives import read_npz
from pipelines.errors import UserError

SPLITS = ("train", "validation", "test")
META_FILE = "meta.json"


@dataclass(frozen=True)
class Split:
    """One part of a data set: images uint8 [n, c, h, w] and labels int64 [n], both in memory."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """A data set, split, with the statistics that normalise it."""

    name: str
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    """Per channel, of pixels in 0..1, over the training part."""
    std: tuple[float, ...]
    """Per channel (population standard deviation), of pixels in 0..1, over the training part."""
    checksum: str
    """SHA-256 (hex) over names, shapes and contents of all arrays."""
    train: Split
    validation: Split
    test: Split

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def num_channels(self) -> int:
        """Number of colour channels, 1 or 3."""
        return int(self.train.images.shape[1])

    @property
    def image_size(self) -> int:
        """Side of the square images in pixels."""
        return int(self.train.images.shape[-1])

    @property
    def sizes(self) -> dict[str, int]:
        """Number of images of each part."""
        return {name: len(getattr(self, name)) for name in SPLITS}


def checksum_of(splits: dict[str, Split], class_names: tuple[str, ...]) -> str:
    """Return the SHA-256 (hex) of class names and of each split's name, shapes and bytes."""
    digest = hashlib.sha256(json.dumps(class_names).encode())
    for name in SPLITS:
        for tensor in (splits[name].images, splits[name].labels):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def save_prepared(data: PreparedData, folder: Path, details: dict[str, Any]) -> None:
    """Write `folder`/{train,validation,test}.npz and meta.json with `details`; same data, same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SPLITS:
        split: Split = getattr(data, name)
        np.savez(folder / f"{name}.npz", images=split.images.numpy(), labels=split.labels.numpy())
    meta = {
        "name": data.name,
        "class_names": data.class_names,
        "mean": data.mean,
        "std": data.std,
        "checksum": data.checksum,
        **details,
    }
    (folder / META_FILE).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def load_prepared(folder: Path) -> PreparedData:
    """Read what `save_prepared` wrote; UserError where it is missing, damaged or not what was recorded."""
    try:
        meta = json.loads((folder / META_FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{folder / META_FILE}: cannot be read ({error.strerror}); run the stage prepare first"
        ) from None
    except json.JSONDecodeError as error:
        raise UserError(f"{folder / META_FILE}: is damaged ({error}); run the stage prepare again") from None
    splits = {}
    for name in SPLITS:
        arrays = read_npz(folder / f"{name}.npz", ("images", "labels"))
        splits[name] = Split(torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"]))
    class_names = tuple(meta["class_names"])
    if checksum_of(splits, class_names) != meta["checksum"]:
        raise UserError(
            f"{folder}: the arrays do not match the recorded checksum; run the stage prepare again"
        )
    return PreparedData(
        name=meta["name"],
        class_names=class_names,
        mean=tuple(meta["mean"]),
        std=tuple(meta["std"]),
        checksum=meta["checksum"],
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
    )
