import gzip
import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image

from pipelines.data import sources  # noqa: F401
from pipelines.data.raw import SOURCES, RawData, check_raw
from pipelines.errors import UserError
from pipelines.torchvision_compat import torchvision

OFFICIAL = ("cifar10", "cifar100", "fashion_mnist", "svhn")


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_cifar(root: Path, name: str, label_key: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write batches of 12 images in torchvision's layout and tell torchvision their MD5 sums."""
    cls = getattr(torchvision.datasets, name)
    folder = root / cls.base_folder
    folder.mkdir(parents=True)
    generator = np.random.default_rng(1)
    pixels = {}
    for list_name in ("train_list", "test_list"):
        entries = []
        for file_name, _ in getattr(cls, list_name):
            data = generator.integers(0, 256, (12, 3 * 32 * 32), dtype=np.uint8)
            pixels[file_name] = data.reshape(12, 3, 32, 32)
            batch = {"data": data, label_key: [int(label) for label in np.arange(12) % 10]}
            (folder / file_name).write_bytes(pickle.dumps(batch))
            entries.append([file_name, md5(folder / file_name)])
        monkeypatch.setattr(cls, list_name, entries)
    meta = folder / cls.meta["filename"]
    meta.write_bytes(pickle.dumps({cls.meta["key"]: []}))
    monkeypatch.setattr(cls, "meta", cls.meta | {"md5": md5(meta)})
    return pixels


def write_idx(path: Path, array: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_fashion(folder: Path, suffix: str) -> Any:
    generator = np.random.default_rng(2)
    arrays = {}
    for part, count in (("train", 30), ("t10k", 20)):
        arrays[part] = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", arrays[part])
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", (np.arange(count) % 10).astype(np.uint8))
    return arrays


@pytest.mark.parametrize("name", [*OFFICIAL, "digits"])
def test_every_named_set_is_registered(name: str) -> None:
    assert name in SOURCES


def test_unknown_name_lists_the_known(make_config: Any) -> None:
    with pytest.raises(UserError, match=r"prepare.name: 'mnist' is no known data set; known: .*cifar10.*npz"):
        SOURCES["mnist"]


def test_digits_are_the_embedded_8_by_8_scans(make_config: Any) -> None:
    raw = SOURCES["digits"](make_config())
    assert raw.train_images.shape == (1797, 1, 8, 8)
    assert raw.test_images is None
    # 17 grey values, spread so that the darkest is 255.
    assert set(np.unique(raw.train_images)) == {round(value * 255 / 16) for value in range(17)}
    check_raw(raw, "digits")


@pytest.mark.parametrize(
    ("name", "cls", "label_key", "first"),
    [("cifar10", "CIFAR10", "labels", "data_batch_1"), ("cifar100", "CIFAR100", "fine_labels", "train")],
)
@pytest.mark.parametrize("folder", ["", "{name}"])
def test_cifar_in_torchvisions_layout(
    name: str,
    cls: str,
    label_key: str,
    first: str,
    folder: str,
    tmp_path: Path,
    monkeypatch: Any,
    make_config: Any,
) -> None:
    pixels = write_cifar(tmp_path / "root" / folder.format(name=name), cls, label_key, monkeypatch)
    raw = SOURCES[name](make_config(name=name, root=str(tmp_path / "root")))
    assert np.array_equal(raw.train_images[:12], pixels[first])
    assert raw.train_labels[:12].tolist() == [*range(10), 0, 1]
    assert len(raw.class_names) == int(name.removeprefix("cifar"))
    assert raw.source == "torchvision"


def test_damaged_cifar_batch_is_named(tmp_path: Path, monkeypatch: Any, make_config: Any) -> None:
    write_cifar(tmp_path, "CIFAR10", "labels", monkeypatch)
    (tmp_path / "cifar-10-batches-py/data_batch_2").write_bytes(b"cut off")
    with pytest.raises(UserError, match="cifar-10-batches-py: a batch file is missing or damaged"):
        SOURCES["cifar10"](make_config(name="cifar10", root=str(tmp_path)))


@pytest.mark.parametrize("place", ["root", "folder", "environment"])
@pytest.mark.parametrize("name", OFFICIAL)
def test_npz_in_the_data_root(
    name: str, place: str, tmp_path: Path, monkeypatch: Any, make_config: Any, arrays: Any
) -> None:
    sub = {"fashion_mnist": "fashion-mnist"}.get(name, name) if place == "folder" else ""
    (tmp_path / "root" / sub).mkdir(parents=True)
    np.savez_compressed(tmp_path / "root" / sub / f"{name}.npz", **arrays)
    if place == "environment":
        monkeypatch.setenv("GQBENCH_DATA_ROOT", str(tmp_path / "root"))
    root = None if place == "environment" else str(tmp_path / "root")
    raw = SOURCES[name](make_config(name=name, root=root))
    assert raw.source == "npz"
    assert np.array_equal(raw.train_images, arrays["x_train"].transpose(0, 3, 1, 2))
    assert raw.test_labels is not None
    assert np.array_equal(raw.test_labels, arrays["y_test"])


@pytest.mark.parametrize(
    ("folder", "suffix"),
    [("", ".gz"), ("fashion-mnist", ".gz"), ("FashionMNIST/raw", ""), ("FashionMNIST/raw", ".gz")],
)
def test_fashion_mnist_idx_files(folder: str, suffix: str, tmp_path: Path, make_config: Any) -> None:
    arrays = write_fashion(tmp_path / folder, suffix)
    raw = SOURCES["fashion_mnist"](make_config(name="fashion_mnist", root=str(tmp_path)))
    assert raw.test_images is not None
    assert np.array_equal(raw.test_images[:, 0], arrays["t10k"])
    assert raw.train_labels.tolist() == [index % 10 for index in range(30)]


@pytest.mark.parametrize("damage", ["gzip", "idx", "magic"])
def test_damaged_idx_file_is_named(damage: str, tmp_path: Path, make_config: Any) -> None:
    write_fashion(tmp_path, ".gz")
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    content = path.read_bytes()
    damaged = {
        "gzip": content[:100],
        "idx": gzip.compress(gzip.decompress(content)[:-5]),
        "magic": gzip.compress(b"no idx file"),
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte.gz: is .*fetch it again"):
        SOURCES["fashion_mnist"](make_config(name="fashion_mnist", root=str(tmp_path)))


def test_svhn_mat_files(tmp_path: Path, monkeypatch: Any, make_config: Any) -> None:
    images = np.random.default_rng(3).integers(0, 256, (32, 32, 3, 11), dtype=np.uint8)
    labels = np.array([[*range(1, 11), 10]], dtype=np.uint8).T  # SVHN writes the digit 0 as 10
    parts = dict(torchvision.datasets.SVHN.split_list)
    for split in ("train", "test"):
        path = tmp_path / "SVHN" / f"{split}_32x32.mat"
        path.parent.mkdir(exist_ok=True)
        scipy.io.savemat(path, {"X": images, "y": labels})
        parts[split] = [parts[split][0], parts[split][1], md5(path)]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", parts)
    raw = SOURCES["svhn"](make_config(name="svhn", root=str(tmp_path)))
    assert raw.train_labels.tolist() == [*range(1, 10), 0, 0]
    assert np.array_equal(raw.train_images[5], images[..., 5].transpose(2, 0, 1))


def write_images(folder: Path, mode: str, size: tuple[int, int] = (8, 8)) -> None:
    generator = np.random.default_rng(4)
    for label, name in enumerate(("apple", "pear")):
        (folder / name).mkdir(parents=True)
        for index in range(3 + label):
            pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(folder / name / f"{index}.png")


@pytest.mark.parametrize(("mode", "num_channels"), [("RGB", 3), ("L", 1)])
def test_folder_of_images(mode: str, num_channels: int, tmp_path: Path, make_config: Any) -> None:
    write_images(tmp_path / "fruit", mode)
    raw = SOURCES["folder"](make_config(name="folder", path=str(tmp_path / "fruit")))
    assert raw.class_names == ("apple", "pear")
    assert raw.train_labels.tolist() == [0] * 3 + [1] * 4
    assert raw.train_images.shape == (7, num_channels, 8, 8)
    with Image.open(tmp_path / "fruit/pear/0.png") as image:
        expected = np.asarray(image).reshape(8, 8, num_channels).transpose(2, 0, 1)
    assert np.array_equal(raw.train_images[3], expected)


def test_folder_with_official_test_part_and_a_size(tmp_path: Path, make_config: Any) -> None:
    write_images(tmp_path / "train", "RGB", (12, 9))
    write_images(tmp_path / "test", "RGB", (8, 8))
    raw = SOURCES["folder"](make_config(name="folder", path=str(tmp_path), image_size=6))
    assert raw.train_images.shape == (7, 3, 6, 6)
    assert raw.test_images is not None
    assert raw.test_images.shape == (7, 3, 6, 6)


def test_folder_of_mixed_sizes_asks_for_a_size(tmp_path: Path, make_config: Any) -> None:
    write_images(tmp_path, "RGB")
    Image.new("RGB", (9, 9)).save(tmp_path / "pear/other.png")
    with pytest.raises(UserError, match=r"other.png: 9 x 9 pixels differ .*set prepare.image_size"):
        SOURCES["folder"](make_config(name="folder", path=str(tmp_path)))


@pytest.mark.parametrize("content", [b"no image", "cut"])
def test_folder_with_a_damaged_image(content: bytes | str, tmp_path: Path, make_config: Any) -> None:
    write_images(tmp_path, "RGB", (32, 32))
    path = tmp_path / "pear/1.png"
    path.write_bytes(path.read_bytes()[:200] if isinstance(content, str) else content)
    with pytest.raises(UserError, match=r"pear/1.png: is .*remove or replace it"):
        SOURCES["folder"](make_config(name="folder", path=str(tmp_path)))


def test_npz_with_class_names_and_without_test_part(tmp_path: Path, make_config: Any, arrays: Any) -> None:
    np.savez(
        tmp_path / "own.npz", x_train=arrays["x_train"], y_train=arrays["y_train"], class_names=list("abcd")
    )
    raw: RawData = SOURCES["npz"](make_config(name="npz", path=str(tmp_path / "own.npz")))
    assert raw.class_names == ("a", "b", "c", "d")
    assert raw.test_images is None
