"""Class probabilities of image files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipelines.data.images import read_image
from pipelines.data.transforms import image_channels, transform_images
from pipelines.errors import UserError
from pipelines.inference.classifier import load_classifier


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one image, in falling order."""

    file: Path
    probabilities: list[tuple[str, float]]


def predict_files(
    files: Sequence[Path], checkpoint_path: Path, *, invert: bool, top: int | None = None
) -> list[Prediction]:
    """Classify image files with the model of a checkpoint, on the CPU; return the `top` classes, None: all.

    Each is converted to the model's colours, scaled and cropped at the centre to its size, and goes through the input
    transform of the training; `invert` swaps dark and light first, for ink on paper where the training images are
    light on dark. Raises UserError on a file that is no image and on a `top` that is no number of classes.
    """
    classifier, checkpoint = load_classifier(checkpoint_path)
    spec = checkpoint.spec
    if top is not None and not 1 <= top <= spec.num_classes:
        raise UserError(
            f"--top: {top} is not allowed; allowed: 1 to {spec.num_classes}, the number of classes of the model"
        )
    grey = image_channels(spec.num_channels, checkpoint.transform) == 1
    images = np.stack([read_image(file, grey, spec.image_size) for file in files])
    if invert:
        images = 255 - images
    inputs = transform_images(torch.from_numpy(images), checkpoint.transform)
    with torch.inference_mode():
        probabilities = classifier(inputs).double().numpy()
    return [
        Prediction(
            file, [(checkpoint.class_names[index], float(row[index])) for index in np.argsort(-row)[:top]]
        )
        for file, row in zip(files, probabilities, strict=True)
    ]
