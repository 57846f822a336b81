"""A trained run on random data, written without training."""

from dataclasses import asdict, replace
from pathlib import Path

import torch

from pipelines.data import PreparedData, Split
from pipelines.models import build_model, count_parameters, spec_of
from pipelines.results import write_csv, write_json
from pipelines.training import Checkpoint
from pipelines.training.checkpoint import generators_of, save_checkpoint
from tests.configs import make_densenet, make_recipe

DENSENET = make_densenet(growth_rate=4, bottleneck_width=2)
RECIPE = make_recipe(batch_size=8, warmup_epochs=0, weight_decay=0.0, seed=1, evaluation_batch_size=16)


def make_data() -> PreparedData:
    """Return 6 + 6 + 45 grey images of 8 x 8 random pixels in 3 classes."""
    generator = torch.Generator().manual_seed(0)

    def split(size: int) -> Split:
        images = torch.randint(0, 256, (size, 1, 8, 8), dtype=torch.uint8, generator=generator)
        return Split(images, torch.arange(size) % 3)

    return PreparedData(
        name="random",
        class_names=("a", "b", "c"),
        mean=(0.5,),
        std=(0.3,),
        checksum="0" * 64,
        train=split(6),
        validation=split(6),
        test=split(45),
    )


def write_run(folder: Path, name: str, model_name: str, data: PreparedData, seed: int = 1) -> int:
    """Write a checkpoint and training results as the training stages do; return the number of parameters."""
    model = build_model(model_name, num_channels=1, num_classes=3, image_size=8, densenet=DENSENET, seed=seed)
    history: list[dict[str, int | float]] = [
        {
            "epoch": epoch,
            "learning_rate": 0.1,
            "train_loss": 1 / epoch,
            "train_accuracy": 0.5,
            "validation_loss": 1 / epoch,
            "validation_accuracy": 0.5,
            "seconds": 1.0,
        }
        for epoch in range(1, 5)
    ]
    checkpoint = Checkpoint(
        spec=spec_of(model),
        recipe=asdict(replace(RECIPE, seed=seed)),
        data_name=data.name,
        class_names=data.class_names,
        transform=None,
        mean=data.mean,
        std=data.std,
        data_checksum=data.checksum,
        epoch=4,
        best_epoch=3,
        finished=True,
        history=history,
        model_state=model.state_dict(),
        optimizer_state=None,
        generator_states={name: own.get_state() for name, own in generators_of(model).items()},
    )
    save_checkpoint(checkpoint, folder / "checkpoints" / name / "best.pt")
    summary = {"epochs": 4, "best_validation_accuracy": 0.5, "train_seconds": 4.0, "device": "x"}
    summary |= {"model": "densenet10", "data": "stripes", "seed": 1, "batch_size": 8, "learning_rate": 0.1}
    write_json(folder / f"results/train/{name}.json", summary)
    write_csv(folder / f"results/train/curves/{name}.csv", history)
    return count_parameters(model)
