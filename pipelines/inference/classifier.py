"""A trained model from pixels to class probabilities."""

from pathlib import Path

import torch
from torch import Tensor, nn

from pipelines.errors import UserError
from pipelines.models.expand import contract
from pipelines.training import Checkpoint, load_checkpoint, rebuild_model

BEST = "best.pt"


class PixelClassifier(nn.Module):
    """Class probabilities float32 [b, classes] of images uint8 [b, c, h, w], normalisation included.

    The images have gone through the checkpoint's input transform, if it has one. An expanded model is contracted.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.model = contract(rebuild_model(checkpoint))
        std = torch.tensor(checkpoint.std, dtype=torch.float64)
        mean = torch.tensor(checkpoint.mean, dtype=torch.float64)
        self.register_buffer("scale", (1 / (255 * std)).float().view(1, -1, 1, 1))
        self.register_buffer("shift", (-mean / std).float().view(1, -1, 1, 1))
        self.eval()

    def normalise(self, images: Tensor) -> Tensor:
        """Return uint8 images as the float32 that the model was trained on."""
        return images.to(torch.float32) * self.scale + self.shift

    def forward(self, images: Tensor) -> Tensor:
        """Return the probabilities; see the class."""
        return torch.softmax(self.model(self.normalise(images)), dim=1)


def load_classifier(path: Path) -> tuple[PixelClassifier, Checkpoint]:
    """Load the checkpoint at `path` as a classifier on the CPU; UserError where it is missing or damaged."""
    checkpoint = load_checkpoint(path)
    return PixelClassifier(checkpoint), checkpoint


def choose_checkpoint(folder: Path, model: str | None) -> Path:
    """Return `folder`/`model`/best.pt; for None that of the run with the best validation accuracy.

    Raises UserError where there is none.
    """
    known = sorted(path.parent.name for path in folder.glob(f"*/{BEST}"))
    if not known:
        raise UserError(f"{folder}: holds no trained model; run `make repro` first")
    if model is None:
        return max((folder / name / BEST for name in known), key=_validation_accuracy)
    if model not in known:
        raise UserError(f"--model: {model!r} has not been trained; trained: {', '.join(known)}")
    return folder / model / BEST


def _validation_accuracy(path: Path) -> float:
    checkpoint = load_checkpoint(path)
    return float(checkpoint.history[checkpoint.best_epoch - 1]["validation_accuracy"])
