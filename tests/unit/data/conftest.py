"""Small data sets in the formats that users bring."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipelines.data import PrepareConfig

ConfigFactory = Callable[..., PrepareConfig]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """No data root from outside, and a working folder of its own for downloads."""
    monkeypatch.delenv("GQBENCH_DATA_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def make_config() -> ConfigFactory:
    def make(**changes: Any) -> PrepareConfig:
        values: dict[str, Any] = {
            "name": "digits",
            "root": None,
            "download": False,
            "path": None,
            "validation_fraction": 0.2,
            "test_fraction": 0.25,
            "train_limit": None,
            "test_limit": None,
            "image_size": None,
            "transform": None,
            "label_noise": None,
            "seed": 0,
        }
        return PrepareConfig(**(values | changes))

    return make


@pytest.fixture
def arrays() -> dict[str, Any]:
    """60 + 20 colour images of 8 x 8 pixels in 4 classes, in the form of the `.npz` files."""
    generator = np.random.default_rng(0)
    return {
        "x_train": generator.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8),
        "y_train": np.arange(60) % 4,
        "x_test": generator.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8),
        "y_test": np.arange(20) % 4,
    }
