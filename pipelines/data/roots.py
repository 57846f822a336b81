"""Where an official data set comes from: the user's data root first, then torchvision's download."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.config.show import one_line
from pipelines.data.archives import read_npz
from pipelines.data.config import PrepareConfig
from pipelines.data.raw import Images, Labels, RawData, as_images, as_labels
from pipelines.errors import UserError
from pipelines.network import unreachable

DATA_ROOT_VARIABLE = "GQBENCH_DATA_ROOT"
DOWNLOAD_FOLDER = Path("data/downloads")
# Long enough for a slow link's first byte, short enough to wait for.
_TIMEOUT_SECONDS = 10.0

Parts = tuple[Images, Labels, Images, Labels]


@dataclass(frozen=True, kw_only=True)
class OfficialSet:
    """A published data set with an official test split, as `load_official` finds it."""

    name: str
    class_names: tuple[str, ...]
    folders: tuple[str, ...]
    """Sub-folders of a data root that may hold it."""
    files: str
    """Torchvision's layout in words, for the message that nothing was found."""
    holds: Callable[[Path], bool]
    """Whether a folder has torchvision's layout of this set."""
    read: Callable[[Path], Parts]
    """Read the parts from such a folder; may raise UserError."""
    url: str
    """What is asked for first, to learn within seconds whether there is a network."""
    download: Callable[[Path], None]
    """Let torchvision download into a folder, so that it `holds` the set."""
    source: str = "torchvision"


def load_official(official: OfficialSet, config: PrepareConfig) -> RawData:
    """Read `official` from the data root or download it; UserError with both ways out where neither works."""
    folder = _find(official, config)
    if folder is None:
        _download(official, config)
        folder = DOWNLOAD_FOLDER
    archive = folder / f"{official.name}.npz"
    if archive.is_file():
        return _assemble(official, _read_archive(archive), "npz")
    return _assemble(official, official.read(folder), official.source)


def check_available(official: OfficialSet, config: PrepareConfig) -> None:
    """Raise UserError, within seconds, unless `official` is there or could be downloaded; downloads nothing."""
    if _find(official, config) is None:
        problem = _no_download(official, config)
        if problem is not None:
            raise _missing(official, config, problem)


def _find(official: OfficialSet, config: PrepareConfig) -> Path | None:
    """Return the folder that holds the set, as one archive or in torchvision's layout."""
    root = data_root(config)
    folders = list(_candidates(root, official)) if root else []
    folders += list(_candidates(DOWNLOAD_FOLDER, official))
    for folder in folders:
        if (folder / f"{official.name}.npz").is_file() or official.holds(folder):
            return folder
    return None


def data_root(config: PrepareConfig) -> Path | None:
    """Return the folder that `prepare.root`, else the environment, names; UserError if it is no folder."""
    key, value = "prepare.root", config.root
    if value is None:
        key, value = DATA_ROOT_VARIABLE, os.environ.get(DATA_ROOT_VARIABLE) or None
    if value is None:
        return None
    root = Path(value).expanduser()
    if not root.is_dir():
        raise UserError(
            f"{key}: {value!r} is not allowed; allowed: an existing folder with data sets, or null"
        )
    return root


def _candidates(root: Path, official: OfficialSet) -> Iterator[Path]:
    yield root
    yield from (root / folder for folder in official.folders)


def _read_archive(path: Path) -> Parts:
    arrays = read_npz(path, ("x_train", "y_train", "x_test", "y_test"))
    train = as_images(arrays["x_train"], f"{path}: x_train")
    test = as_images(arrays["x_test"], f"{path}: x_test")
    return (
        train,
        as_labels(arrays["y_train"], len(train), f"{path}: y_train"),
        test,
        as_labels(arrays["y_test"], len(test), f"{path}: y_test"),
    )


def _assemble(official: OfficialSet, parts: Parts, source: str) -> RawData:
    train_images, train_labels, test_images, test_labels = parts
    return RawData(
        class_names=official.class_names,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        source=source,
    )


def _no_download(official: OfficialSet, config: PrepareConfig) -> str | None:
    """Say why no download can be tried, or None."""
    if not config.download:
        return "prepare.download is false"
    problem = unreachable(official.url, _TIMEOUT_SECONDS)
    return problem and f"the download from {official.url} failed: {problem}"


def _download(official: OfficialSet, config: PrepareConfig) -> None:
    """Download into DOWNLOAD_FOLDER, or raise the one line that says both ways out."""
    problem = _no_download(official, config)
    if problem is None:
        DOWNLOAD_FOLDER.mkdir(parents=True, exist_ok=True)
        try:
            with _socket_timeout():
                official.download(DOWNLOAD_FOLDER)
            return
        # torchvision reports a failed or damaged download as RuntimeError, urllib as OSError.
        except (RuntimeError, OSError) as error:
            problem = f"the download from {official.url} failed: {one_line(error)}"
    raise _missing(official, config, problem)


def _missing(official: OfficialSet, config: PrepareConfig, problem: str) -> UserError:
    root = data_root(config)
    searched = (
        f"{root} has neither {official.name}.npz nor {official.files}" if root else "no data root is set"
    )
    return UserError(
        f"prepare.name: {official.name}: {searched}, and {problem}; either set prepare.root or "
        f"{DATA_ROOT_VARIABLE} to a folder with {official.name}.npz or {official.files}, or set "
        "prepare.download: true on a machine with a network (name: digits needs neither)"
    )


@contextmanager
def _socket_timeout() -> Iterator[None]:
    """Let a stalled download fail: torchvision passes urllib no timeout."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
