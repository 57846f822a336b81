"""What a new user may get wrong with data: each mistake is one line that names the remedy."""

import hashlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.config.validate import FieldError
from pipelines.data import roots
from pipelines.data.preparation import prepare
from pipelines.errors import UserError
from pipelines.network import unreachable


def fails(config: Any, tmp_path: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        prepare(config, tmp_path / "out", tmp_path / "figure.png")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"validation_fraction": 0.0}, "validation_fraction: 0.0 is not allowed; allowed: a number above 0"),
        ({"test_fraction": 0.6}, "test_fraction: 0.6 is not allowed"),
        ({"train_limit": 0}, "train_limit: 0 is not allowed"),
        ({"image_size": 3}, "image_size: 3 is not allowed; allowed: null or a whole number of at least 4"),
        ({"seed": -1}, "seed: -1 is not allowed"),
        ({"name": "npz"}, "path: None is not allowed"),
        ({"path": "x.npz"}, "path: 'x.npz' is not allowed; allowed: null"),
    ],
)
def test_values_out_of_range(changes: Any, match: str, make_config: Any) -> None:
    with pytest.raises(FieldError, match=match):
        make_config(**changes)


@pytest.mark.parametrize("from_environment", [True, False])
def test_wrong_data_root(from_environment: bool, tmp_path: Path, make_config: Any, monkeypatch: Any) -> None:
    missing = str(tmp_path / "missing")
    if from_environment:
        monkeypatch.setenv("GQBENCH_DATA_ROOT", missing)
    config = make_config(name="cifar10", root=None if from_environment else missing)
    key = "GQBENCH_DATA_ROOT" if from_environment else "prepare.root"
    fails(config, tmp_path, f"^{key}: '{missing}' is not allowed; allowed: an existing folder")


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist", "svhn"])
def test_no_data_and_no_network_says_both_ways_out(
    name: str, tmp_path: Path, make_config: Any, monkeypatch: Any
) -> None:
    # A port that nobody listens on: refused at once, whatever network this machine has.
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{closed.getsockname()[1]}"
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    config = make_config(name=name, root=str(tmp_path), download=True)
    fails(
        config, tmp_path, r"the download from http.* failed: .*prepare.root or GQBENCH_DATA_ROOT .* network"
    )


def test_a_silent_server_is_given_up_within_seconds(monkeypatch: Any) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        # Without its limits this would never return; pytest's own limit is the net.
        problem = unreachable(f"http://127.0.0.1:{silent.getsockname()[1]}/x", 0.3)
    assert problem is not None


def test_a_name_look_up_that_hangs_is_given_up_within_seconds(monkeypatch: Any) -> None:
    released = threading.Event()
    monkeypatch.setenv("no_proxy", "*")

    def hang(*_: Any, **__: Any) -> None:
        released.wait()
        raise OSError("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert unreachable("http://data.example.invalid/x", 0.1) == "no answer within 0.1 seconds"
    released.set()


def test_forbidden_download_is_not_tried(tmp_path: Path, make_config: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(roots, "unreachable", lambda *_: pytest.fail("asked the network"))
    fails(make_config(name="svhn"), tmp_path, "prepare.download is false; either set prepare.root")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 255
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def no_archive(path: Path) -> None:
    path.write_bytes(b"no archive at all")


@pytest.mark.parametrize("damage", [cut, flip, empty, no_archive])
@pytest.mark.parametrize("name", ["npz", "cifar10"])
def test_damaged_npz(
    damage: Callable[[Path], None], name: str, tmp_path: Path, make_config: Any, arrays: Any
) -> None:
    path = tmp_path / "cifar10.npz"
    np.savez_compressed(path, **arrays)
    damage(path)
    place = {"path": str(path)} if name == "npz" else {"root": str(tmp_path)}
    fails(make_config(name=name, **place), tmp_path, "cifar10.npz: is no valid .npz archive, perhaps cut off")


@pytest.mark.parametrize("entry", ["own.npz", "*own.npz", "sets/own.npz", "data/sets/own.npz"])
def test_a_data_file_is_held_against_its_recorded_checksum(
    entry: str, tmp_path: Path, make_config: Any, arrays: Any
) -> None:
    folder = tmp_path / "sets"
    folder.mkdir()
    np.savez(folder / "own.npz", **arrays)
    sums = (folder if "/" not in entry else tmp_path) / "SHA256SUMS"
    config = make_config(name="npz", path=str(folder / "own.npz"))
    good = hashlib.sha256((folder / "own.npz").read_bytes()).hexdigest()
    sums.write_text(f"{'0' * 64}  sets/other.npz\n{good}  {entry}\n")
    prepare(config, tmp_path / "first", tmp_path / "figure.png")
    sums.write_text(f"{'0' * 64}  {entry}\n")
    fails(
        config,
        tmp_path,
        rf"own\.npz: is damaged .* its SHA-256 is {good[:16]}\.\.\., SHA256SUMS records 0{{16}}",
    )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"x_train": np.zeros((60, 8, 8))},
            "x_train: images of dtype float64 are not allowed; allowed: uint8",
        ),
        ({"x_train": np.zeros((60, 8), np.uint8)}, r"x_train: shape \(60, 8\) is not allowed"),
        ({"x_train": np.zeros((60, 8, 8, 4), np.uint8)}, "with 1 or 3 channels"),
        ({"x_train": np.array([object()] * 60)}, "is no valid .npz archive"),
        ({"y_train": np.zeros(59, int)}, r"y_train: shape \(59,\) .*one label for each of 60 images"),
        ({"y_train": np.zeros(60)}, "y_train: labels of dtype float64 are not allowed"),
        ({"y_train": np.arange(60) % 4 - 1}, "label -1 in the training part is not allowed; allowed: 0 to 2"),
        ({"y_test": np.full(20, 7)}, "label 7 in the test part is not allowed; allowed: 0 to 3"),
        ({"y_train": np.zeros(60, int)}, "1 class is not enough"),
        ({"y_train": np.minimum(np.arange(60), 3)}, "class '0' has 1 images, too few"),
        ({"y_test": np.zeros(20, int)}, r"\(test part\): class '1' has 0 images"),
        ({"x_test": np.zeros((20, 9, 9, 3), np.uint8)}, "test images of shape"),
        ({"x_train": np.zeros((60, 8, 8, 3), np.uint8)}, "all training pixels of channel 0 have the value 0"),
        ({"x_train": None}, "lacks the array 'x_train'; it holds: y_train"),
        ({"y_test": None}, "x_test and y_test belong together"),
    ],
)
def test_arrays_that_do_not_fit(
    change: Any, match: str, tmp_path: Path, make_config: Any, arrays: Any
) -> None:
    arrays = {name: array for name, array in (arrays | change).items() if array is not None}
    np.savez(tmp_path / "own.npz", **arrays)
    fails(make_config(name="npz", path=str(tmp_path / "own.npz")), tmp_path, match)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"train_limit": 5}, "prepare.train_limit: 5 of 1348 images in 10 classes is not possible"),
        ({"train_limit": 12}, "prepare.validation_fraction: 2 of 12 images in 10 classes is not possible"),
        ({"test_limit": 9}, "prepare.test_limit: 9 of 449 images in 10 classes is not possible"),
        ({"name": "folder", "path": "missing"}, "prepare.path: 'missing' is not allowed; allowed: a folder"),
        ({"name": "folder", "path": "."}, "holds no sub-folder with images"),
        ({"name": "npz", "path": "missing.npz"}, "missing.npz: cannot be read"),
        ({"name": "nothing"}, "'nothing' is no known data set; known: cifar10"),
    ],
)
def test_too_few_images_or_no_such_place(changes: Any, match: str, tmp_path: Path, make_config: Any) -> None:
    fails(make_config(**changes), tmp_path, match)
