"""A user's own `.npz`: `x_train`, `y_train`, and where there is a test split `x_test`, `y_test`.

Images are uint8 [n, h, w] or [n, h, w, c] with 1 or 3 channels, labels whole numbers from 0;
`class_names` (text) is optional.
"""

from pathlib import Path

import numpy as np

from pipelines.data.archives import read_npz
from pipelines.data.config import PrepareConfig
from pipelines.data.raw import SOURCES, Images, Labels, RawData, as_images, as_labels
from pipelines.errors import UserError


@SOURCES.register("npz")
def load_npz(config: PrepareConfig) -> RawData:
    """Return the data of the archive at `prepare.path`."""
    assert config.path is not None  # PrepareConfig requires it for this source
    path = Path(config.path).expanduser()
    arrays = read_npz(path, ("x_train", "y_train"), ("x_test", "y_test", "class_names"))
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise UserError(f"{path}: x_test and y_test belong together; only one of them is there")
    train_images = as_images(arrays["x_train"], f"{path}: x_train")
    train_labels = as_labels(arrays["y_train"], len(train_images), f"{path}: y_train")
    test_images: Images | None = None
    test_labels: Labels | None = None
    if "x_test" in arrays:
        test_images = as_images(arrays["x_test"], f"{path}: x_test")
        test_labels = as_labels(arrays["y_test"], len(test_images), f"{path}: y_test")
    if "class_names" in arrays:
        class_names = tuple(str(name) for name in np.ravel(arrays["class_names"]))
    else:
        class_names = tuple(str(label) for label in range(int(train_labels.max()) + 1))
    return RawData(
        class_names=class_names,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        source="npz",
    )
