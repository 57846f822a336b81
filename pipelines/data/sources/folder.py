"""A user's own folder of images by class: `CLASS/*.png`, or `train/CLASS/*.png` beside `test/CLASS/*.png`."""

from pathlib import Path

import numpy as np

from pipelines.data.config import PrepareConfig
from pipelines.data.images import is_grey, read_image
from pipelines.data.raw import SOURCES, Images, Labels, RawData
from pipelines.errors import UserError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@SOURCES.register("folder")
def load_folder(config: PrepareConfig) -> RawData:
    """Return the images under `prepare.path`; classes are the sub-folders in alphabetical order.

    Images become grey (1 channel) where all files are, else RGB. With `prepare.image_size` they are scaled
    and cropped at the centre to that square; without it all must have one size.
    """
    assert config.path is not None  # PrepareConfig requires it for this source
    path = Path(config.path).expanduser()
    if not path.is_dir():
        raise UserError(f"prepare.path: {config.path!r} is not allowed; allowed: a folder of images by class")
    official = (path / "train").is_dir() and (path / "test").is_dir()
    train_folder = path / "train" if official else path
    class_names = tuple(sorted(entry.name for entry in train_folder.iterdir() if _is_class(entry)))
    if not class_names:
        raise UserError(f"{train_folder}: holds no sub-folder with images; one for each class is expected")
    train = _list_files(train_folder, class_names)
    test = _list_files(path / "test", class_names) if official else []
    grey = all(is_grey(file) for file, _ in (*train, *test))
    train_images, train_labels = _read_all(train, grey, config.image_size)
    parts = _read_all(test, grey, config.image_size) if official else (None, None)
    return RawData(
        class_names=class_names,
        train_images=train_images,
        train_labels=train_labels,
        test_images=parts[0],
        test_labels=parts[1],
        source="folder",
    )


def _is_class(entry: Path) -> bool:
    return entry.is_dir() and any(file.suffix.lower() in SUFFIXES for file in entry.iterdir())


def check_inside(folder: Path, entry: Path) -> None:
    """Raise UserError where `entry` is a symbolic link that leads out of `folder`, or nowhere.

    `folder` itself may be reached by links; links within it are followed.
    """
    try:
        target, base = entry.resolve(strict=True), folder.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a circle of links
        raise UserError(f"{entry}: is a link that leads nowhere; remove or mend it") from None
    if not target.is_relative_to(base):
        raise UserError(
            f"{entry}: is a link that leads out of {folder}; copy what it names, or let prepare.path name the "
            "folder that holds all"
        )


def _list_files(folder: Path, class_names: tuple[str, ...]) -> list[tuple[Path, int]]:
    files = []
    for label, name in enumerate(class_names):
        if not (folder / name).is_dir():
            raise UserError(
                f"{folder / name}: this folder is missing; the training part has the class {name!r}"
            )
        check_inside(folder, folder / name)
        entries = sorted(entry for entry in (folder / name).iterdir() if entry.suffix.lower() in SUFFIXES)
        for entry in entries:
            check_inside(folder, entry)
        files += [(entry, label) for entry in entries]
    if not files:
        raise UserError(f"{folder}: holds no image; known endings: {', '.join(sorted(SUFFIXES))}")
    return files


def _read_all(files: list[tuple[Path, int]], grey: bool, size: int | None) -> tuple[Images, Labels]:
    images = [read_image(file, grey, size) for file, _ in files]
    for (file, _), image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            raise UserError(
                f"{file}: {image.shape[2]} x {image.shape[1]} pixels differ from the first image's "
                f"{images[0].shape[2]} x {images[0].shape[1]}; set prepare.image_size to make them alike"
            )
    return np.stack(images), np.asarray([label for _, label in files], dtype=np.int64)
