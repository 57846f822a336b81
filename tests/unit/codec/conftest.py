"""A codec with drawn weights: numerics and files do not depend on training."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.codec.coding import Pixels
from pipelines.codec.files import save_codec
from pipelines.codec.masks import Masking
from pipelines.codec.network import Codec, CodecShape

ITERATIONS = 3
QUALITY = 14.0


def make_codec(*, channels: int = 3, masking: Masking | None = None, seed: int = 0) -> Codec:
    """Return a small codec for images of mean grey."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        codec = Codec(
            CodecShape(num_channels=channels, width=4, iterations=ITERATIONS),
            mean=(0.5,) * channels,
            std=(0.25,) * channels,
            masking=masking or Masking(),
        )
        for head in (codec.encoder.head, codec.decoder.head):  # which add nothing before training
            torch.nn.init.normal_(head.weight, std=0.2)
        return codec


def make_picture(height: int, width: int, channels: int = 3, seed: int = 0) -> Pixels:
    """Return a slope with noise whose strength grows from left to right: blocks of unequal difficulty."""
    generator = np.random.default_rng(seed)
    slope = np.linspace(0, 255, height)[None, :, None] * np.ones((channels, 1, width))
    noise = generator.normal(size=(channels, height, width)) * np.linspace(0, 80, width)
    return (slope / 2 + 64 + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture
def codec() -> Codec:
    return make_codec().eval()


@pytest.fixture
def codec_file(tmp_path: Path) -> Path:
    path = tmp_path / "codec.pt"
    save_codec(make_codec(), QUALITY, path)
    return path
