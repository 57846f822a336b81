"""Handwritten digits that come with scikit-learn: 1,797 scans of 8 x 8 pixels, no download.

E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
"""

import numpy as np

from pipelines.data.config import PrepareConfig
from pipelines.data.raw import SOURCES, RawData

# A pixel counts the black dots in a 4 x 4 block of the scan.
_MAXIMUM = 16


@SOURCES.register("digits")
def load_digits(config: PrepareConfig) -> RawData:  # noqa: ARG001 - every source takes the parameters
    """Return the digits at their native size, grey values spread from 0..16 to 0..255."""
    from sklearn import datasets

    bunch = datasets.load_digits()
    images = np.rint(bunch.images * (255 / _MAXIMUM)).astype(np.uint8)
    return RawData(
        class_names=tuple(str(digit) for digit in range(10)),
        train_images=images[:, None],
        train_labels=bunch.target.astype(np.int64),
        test_images=None,
        test_labels=None,
        source="embedded",
    )
