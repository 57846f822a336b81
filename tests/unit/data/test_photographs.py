"""The photographs: patches that are where they say, and test regions that no training patch has seen."""

from typing import Any

import numpy as np

from pipelines.data.sources.photographs import SIDE, STEP, TRAIN_WIDTH, held_out, load_photographs, load_whole


def test_training_and_test_patches_are_of_different_regions(make_config: Any) -> None:
    raw = load_photographs(make_config())
    china = load_whole()["china"]
    assert raw.class_names == ("china", "flower")
    across = (TRAIN_WIDTH - SIDE) // STEP + 1
    place = 3 * across + 5  # of the first photograph: fourth row, sixth column
    assert np.array_equal(
        raw.train_images[place], china[:, 3 * STEP : 3 * STEP + SIDE, 5 * STEP : 5 * STEP + SIDE]
    )
    assert raw.test_images is not None
    assert raw.test_labels is not None
    assert np.array_equal(
        raw.test_images[8], china[:, SIDE : 2 * SIDE, TRAIN_WIDTH + SIDE : TRAIN_WIDTH + 2 * SIDE]
    )
    assert [np.bincount(labels).tolist() for labels in (raw.train_labels, raw.test_labels)] == [
        [625, 625],
        [91, 91],
    ]
    # No row of pixels of the test part is in the training part of its photograph.
    assert np.array_equal(held_out()["china"], china[:, :416, TRAIN_WIDTH:])


def test_the_unseen_photograph_is_in_neither_part() -> None:
    images = held_out()
    assert {name: image.shape for name, image in images.items()} == {
        "china": (3, 416, 224),
        "flower": (3, 416, 224),
        "grace_hopper": (3, 416, 416),
    }
    assert all(image.dtype == np.uint8 for image in images.values())
