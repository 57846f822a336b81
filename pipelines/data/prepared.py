"""The prepared data set as every later stage reads it."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.config.show import one_line, show
from pipelines.data.archives import read_npz
from pipelines.errors import UserError

SPLITS = ("train", "validation", "test")
META_FILE = "meta.json"


@dataclass(frozen=True)
class Split:
    """One part of a data set: images uint8 [n, c, h, w] and labels int64 [n], both in memory."""

    images: torch.Tensor
    labels: torch.Tensor
    true_labels: torch.Tensor | None = None
    """What the labels were before label noise, int64 [n]; None where none was added."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def arrays(self) -> dict[str, torch.Tensor]:
        """The tensors that there are, by their names in files."""
        named = {"images": self.images, "labels": self.labels}
        return named if self.true_labels is None else named | {"true_labels": self.true_labels}


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
    transform: str | None = None
    """The input transform that the images have gone through."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def num_channels(self) -> int:
        """Number of channels: 1 or 3 of colour, then those that the input transform has appended."""
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
        for tensor in splits[name].arrays.values():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def split_checksum(split: Split) -> str:
    """Return the SHA-256 (hex) of one split's types, shapes and bytes: tells which file is damaged."""
    digest = hashlib.sha256()
    for tensor in split.arrays.values():
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def save_prepared(data: PreparedData, folder: Path, details: dict[str, Any]) -> None:
    """Write `folder`/{train,validation,test}.npz and meta.json with `details`; same data, same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SPLITS:
        split: Split = getattr(data, name)
        arrays = {key: tensor.numpy() for key, tensor in split.arrays.items()}
        np.savez(folder / f"{name}.npz", allow_pickle=False, **arrays)
    meta = {
        "name": data.name,
        "class_names": data.class_names,
        "mean": data.mean,
        "std": data.std,
        "checksum": data.checksum,
        "transform": data.transform,
        "split_checksums": {name: split_checksum(getattr(data, name)) for name in SPLITS},
        **details,
    }
    (folder / META_FILE).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def load_prepared(folder: Path) -> PreparedData:
    """Read what `save_prepared` wrote; UserError where it is missing, damaged or not what was recorded."""
    meta = _read_meta(folder / META_FILE)
    splits = {name: _read_split(folder / f"{name}.npz", meta["split_checksums"][name]) for name in SPLITS}
    class_names = tuple(meta["class_names"])
    found = checksum_of(splits, class_names)
    if found != meta["checksum"]:
        raise _mismatch(folder / META_FILE, "names or arrays", found, meta["checksum"])
    return PreparedData(
        name=meta["name"],
        class_names=class_names,
        mean=tuple(meta["mean"]),
        std=tuple(meta["std"]),
        checksum=meta["checksum"],
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        transform=meta["transform"],
    )


def _read_meta(path: Path) -> dict[str, Any]:
    """Return the content of meta.json with everything that a PreparedData needs."""
    try:
        meta = json.loads(path.read_bytes())
        statistics = [*meta["mean"], *meta["std"]]
        fits = all(isinstance(name, str) for name in (*meta["class_names"], meta["name"], meta["checksum"]))
        fits &= meta["transform"] is None or isinstance(meta["transform"], str)
        fits &= set(meta["split_checksums"]) == set(SPLITS)
        fits &= len(meta["mean"]) == len(meta["std"]) and all(
            isinstance(value, float) for value in statistics
        )
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); run the stage prepare first") from None
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path}: is damaged ({one_line(error)}); run the stage prepare again") from None
    if not fits:
        raise UserError(f"{path}: is damaged (a value of another type); run the stage prepare again")
    return dict(meta)


def _read_split(path: Path, recorded: str) -> Split:
    try:
        arrays = read_npz(path, ("images", "labels"), ("true_labels",))
        split = Split(**{name: torch.from_numpy(array) for name, array in arrays.items()})
    except UserError as error:
        raise UserError(f"{error}, that is: run the stage prepare again") from None
    except TypeError as error:
        raise UserError(f"{path}: is damaged ({one_line(error)}); run the stage prepare again") from None
    found = split_checksum(split)
    if found != recorded:
        raise _mismatch(path, "arrays", found, recorded)
    return split


def _mismatch(path: Path, what: str, found: str, recorded: object) -> UserError:
    return UserError(
        f"{path}: the {what} do not match the recorded checksum (SHA-256 {found[:16]}..., recorded "
        f"{show(recorded)[:17]}...); run the stage prepare again"
    )
