"""What CIFAR-10 and CIFAR-100 share: torchvision reads and checks their folders of batches.

A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from functools import partial
from pathlib import Path

import numpy as np

from pipelines.data.raw import as_images
from pipelines.data.roots import OfficialSet, Parts
from pipelines.errors import UserError
from pipelines.torchvision_compat import torchvision


def official_cifar(
    name: str, class_name: str, class_names: tuple[str, ...], folders: tuple[str, ...], layout: str, url: str
) -> OfficialSet:
    """Describe the CIFAR set that torchvision's class `class_name` reads from the sub-folder `layout`."""
    return OfficialSet(
        name=name,
        class_names=class_names,
        folders=folders,
        files=f"{layout}/",
        holds=lambda folder: (folder / layout).is_dir(),
        read=partial(_read, class_name),
        url=url,
        download=partial(_download, class_name),
    )


def _read(class_name: str, folder: Path) -> Parts:
    cls = getattr(torchvision.datasets, class_name)
    try:
        train, test = cls(folder, train=True), cls(folder, train=False)
    except RuntimeError:
        # torchvision compares the MD5 sums of all batches before it reads one.
        raise UserError(
            f"{folder / cls.base_folder}: a batch file is missing or damaged; fetch the archive again"
        ) from None
    return (
        as_images(train.data, f"{folder}: training images"),
        np.asarray(train.targets, dtype=np.int64),
        as_images(test.data, f"{folder}: test images"),
        np.asarray(test.targets, dtype=np.int64),
    )


def _download(class_name: str, folder: Path) -> None:
    getattr(torchvision.datasets, class_name)(folder, download=True)
