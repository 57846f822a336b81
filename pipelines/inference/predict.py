"""Class probabilities of image files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipelines.data.images import read_image
from pipelines.inference.classifier import load_classifier


@dataclass(frozen=True)
class Prediction:
    """The classes of one image, most probable first."""

    file: Path
    probabilities: list[tuple[str, float]]


def predict_files(files: Sequence[Path], checkpoint_path: Path, *, invert: bool) -> list[Prediction]:
    """Classify image files with the model of a checkpoint, on the CPU.

    Each is converted to the model's channels, scaled and cropped at the centre to its size; `invert` swaps
    dark and light first, for ink on paper where the training images are light on dark. Raises UserError on a
    file that is no image.
    """
    classifier, checkpoint = load_classifier(checkpoint_path)
    spec = checkpoint.spec
    images = np.stack([read_image(file, spec.num_channels == 1, spec.image_size) for file in files])
    if invert:
        images = 255 - images
    with torch.inference_mode():
        probabilities = classifier(torch.from_numpy(images)).double().numpy()
    return [
        Prediction(file, [(checkpoint.class_names[index], float(row[index])) for index in np.argsort(-row)])
        for file, row in zip(files, probabilities, strict=True)
    ]
