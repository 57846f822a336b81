"""Fashion-MNIST: 60,000 + 10,000 grey pictures of 28 x 28 pixels in 10 kinds of clothing (IDX files).

H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST", arXiv:1708.07747, 2017.
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.data.config import PrepareConfig
from pipelines.data.raw import SOURCES, RawData, as_images, as_labels
from pipelines.data.roots import OfficialSet, Parts, load_official
from pipelines.data.sums import check_recorded_sum
from pipelines.errors import UserError
from pipelines.torchvision_compat import torchvision

_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def _find(folder: Path, name: str) -> Path | None:
    """Return the file `name`, plain or gzipped, in `folder` or in torchvision's sub-folder of it."""
    candidates = (
        inner / f"{name}{suffix}" for inner in (folder, folder / "FashionMNIST/raw") for suffix in ("", ".gz")
    )
    return next((path for path in candidates if path.is_file()), None)


def _read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes (LeCun's format: magic 0, 0, 8, ndim, then big-endian sizes)."""
    try:
        check_recorded_sum(path)
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: is damaged or cut off ({error}); fetch it again") from None
    num_dims = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    header = 4 + 4 * num_dims
    shape = struct.unpack(f">{num_dims}I", content[4:header]) if len(content) >= header else ()
    if num_dims == 0 or len(content) - header != int(np.prod(shape)):
        raise UserError(f"{path}: is no complete IDX file of unsigned bytes; fetch it again")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def _read(folder: Path) -> Parts:
    paths = [_find(folder, name) for name in _FILES]
    arrays = [_read_idx(path) for path in paths if path is not None]
    train, test = as_images(arrays[0], f"{paths[0]}"), as_images(arrays[2], f"{paths[2]}")
    return (
        train,
        as_labels(arrays[1], len(train), f"{paths[1]}"),
        test,
        as_labels(arrays[3], len(test), f"{paths[3]}"),
    )


def _download(folder: Path) -> None:
    torchvision.datasets.FashionMNIST(folder, download=True)


FASHION_MNIST = OfficialSet(
    name="fashion_mnist",
    class_names=_CLASSES,
    folders=("fashion-mnist", "fashion_mnist"),
    files="the four *-ubyte.gz files",
    holds=lambda folder: all(_find(folder, name) is not None for name in _FILES),
    read=_read,
    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz",
    download=_download,
    source="idx",
)


@SOURCES.register("fashion_mnist")
def load_fashion_mnist(config: PrepareConfig) -> RawData:
    """Return Fashion-MNIST from the data root or torchvision's download."""
    return load_official(FASHION_MNIST, config)
