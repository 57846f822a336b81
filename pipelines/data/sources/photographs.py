"""Patches of the two photographs that are installed with scikit-learn, by photograph: no download.

"china" and "flower", 640 x 427 pixels, JPEG files themselves. The right third of each is the test part, so that whole
regions are left that no patch has seen; a third photograph, which matplotlib brings along, is for tests alone.
"""

from pathlib import Path

import numpy as np

from pipelines.data.config import PrepareConfig
from pipelines.data.images import read_image
from pipelines.data.raw import SOURCES, Images, Labels, RawData

SIDE = 32
STEP = 16
"""Pixels from a training patch to the next; half of it is in common. Test patches have none in common."""
HEIGHT = 416
TRAIN_WIDTH = 416
"""Of 427 and 640 pixels: whole patches."""
UNSEEN_SIDE = 416
UNSEEN_NAME = "grace_hopper"


@SOURCES.register("photographs")
def load_photographs(config: PrepareConfig) -> RawData:  # noqa: ARG001 - every source takes the parameters
    """Return patches of 32 x 32 pixels, their class being the photograph."""
    photographs = load_whole()
    train = [_patches(photograph[:, :HEIGHT, :TRAIN_WIDTH], STEP) for photograph in photographs.values()]
    test = [_patches(photograph[:, :HEIGHT, TRAIN_WIDTH:], SIDE) for photograph in photographs.values()]
    return RawData(
        class_names=tuple(photographs),
        train_images=np.concatenate(train),
        train_labels=_labels(train),
        test_images=np.concatenate(test),
        test_labels=_labels(test),
        source="embedded",
    )


def load_whole() -> dict[str, Images]:
    """Return the two photographs by name, uint8 [3, 427, 640]."""
    from sklearn import datasets

    bunch = datasets.load_sample_images()
    names = [path.rpartition("/")[2].partition(".")[0] for path in bunch.filenames]
    return {
        name: np.ascontiguousarray(image.transpose(2, 0, 1))
        for name, image in sorted(zip(names, bunch.images, strict=True), key=lambda pair: pair[0])
    }


def held_out() -> dict[str, Images]:
    """Return what no training patch is from, by name, uint8 [3, h, w]: the right thirds, the middle of a portrait."""
    from matplotlib import cbook

    parts = {name: image[:, :HEIGHT, TRAIN_WIDTH:] for name, image in load_whole().items()}
    file = Path(str(cbook.get_sample_data(f"{UNSEEN_NAME}.jpg", asfileobj=False)))
    unseen = read_image(file, grey=False, size=UNSEEN_SIDE)
    return {**parts, UNSEEN_NAME: unseen}


def _patches(image: Images, step: int) -> Images:
    windows = np.lib.stride_tricks.sliding_window_view(image, (SIDE, SIDE), (1, 2))[:, ::step, ::step]
    return np.ascontiguousarray(windows.transpose(1, 2, 0, 3, 4).reshape(-1, len(image), SIDE, SIDE))


def _labels(parts: list[Images]) -> Labels:
    return np.repeat(np.arange(len(parts), dtype=np.int64), [len(part) for part in parts])
