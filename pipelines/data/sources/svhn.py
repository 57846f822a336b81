"""SVHN: 73,257 + 26,032 colour pictures of house numbers, cropped to one digit of 32 x 32 pixels.

Y. Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", 2011.
"""

from pathlib import Path

from pipelines.data.config import PrepareConfig
from pipelines.data.raw import SOURCES, RawData, as_images
from pipelines.data.roots import OfficialSet, Parts, load_official
from pipelines.errors import UserError
from pipelines.torchvision_compat import torchvision

_FILES = ("train_32x32.mat", "test_32x32.mat")


def _read(folder: Path) -> Parts:
    try:
        train, test = (torchvision.datasets.SVHN(folder, split=split) for split in ("train", "test"))
    except RuntimeError:
        # torchvision compares the MD5 sums before it reads.
        raise UserError(f"{folder}: {' or '.join(_FILES)} is damaged; fetch it again") from None
    return (
        as_images(train.data.transpose(0, 2, 3, 1), f"{folder}: training images"),
        train.labels,
        as_images(test.data.transpose(0, 2, 3, 1), f"{folder}: test images"),
        test.labels,
    )


def _download(folder: Path) -> None:
    for split in ("train", "test"):
        torchvision.datasets.SVHN(folder, split=split, download=True)


SVHN = OfficialSet(
    name="svhn",
    class_names=tuple(str(digit) for digit in range(10)),
    folders=("svhn", "SVHN"),
    files=" and ".join(_FILES),
    holds=lambda folder: all((folder / name).is_file() for name in _FILES),
    read=_read,
    url="http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
    download=_download,
)


@SOURCES.register("svhn")
def load_svhn(config: PrepareConfig) -> RawData:
    """Return SVHN (without its "extra" part) from the data root or torchvision's download."""
    return load_official(SVHN, config)
