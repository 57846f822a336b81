"""How accurate a model stays on shifted test images (`pipelines.data.corruptions`)."""

from collections.abc import Sequence

import torch
from torch import nn

from pipelines.data import PreparedData, Split
from pipelines.data.corruptions import SEVERITIES, corrupt
from pipelines.results import Row
from pipelines.training import predict_logits


def corrupted_accuracies(
    model: nn.Module,
    data: PreparedData,
    corruptions: Sequence[str],
    *,
    batch_size: int,
    device: torch.device,
    seed: int,
) -> list[Row]:
    """Return a row a corruption and severity: corruption, severity (1 to 5) and test_accuracy (0..1).

    `model` must lie on `device`. `seed` fixes what the corruptions draw, so all models see the same images. Raises
    UserError for an unknown corruption.
    """
    rows: list[Row] = []
    for name in corruptions:
        for severity in SEVERITIES:
            shifted = Split(corrupt(data.test.images, name, severity, seed), data.test.labels)
            logits = predict_logits(model, shifted, data, batch_size=batch_size, device=device)
            accuracy = float((logits.argmax(1) == data.test.labels).double().mean())
            rows.append({"corruption": name, "severity": severity, "test_accuracy": accuracy})
    return rows
