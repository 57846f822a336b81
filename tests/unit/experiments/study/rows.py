"""Hand-made files of the study, with the keys that its stages write."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.results import Row, write_json

NUM_TEST = 360
ACCURACY = {
    "densenet50": (0.975, 0.969, 0.978),
    "densenet100": (0.986, 0.981, 0.989),
    "densenet200": (0.986, 0.978, 0.992),
    "vgg16_bn": (0.956, 0.950, 0.958),
    "vgg19_bn": (0.933, 0.939, 0.944),
    "resnet18": (0.978, 0.983, 0.981),
    "efficientnet_b0": (0.972, 0.961, 0.958),
}
PARAMETERS = {
    "densenet50": 245_000,
    "densenet100": 769_162,
    "densenet200": 2_900_000,
    "vgg16_bn": 14_700_000,
    "vgg19_bn": 20_000_000,
    "resnet18": 11_170_000,
    "efficientnet_b0": 4_020_000,
}
RATES = (0.03, 0.1, 0.3)
CURVE_RATES = (0.01, 0.03, 0.1, 0.3)
DEPTHS = ("densenet50", "densenet100", "densenet200")
DROPS = (6, 9)


def common(experiment: str, model: str, seed: int, learning_rate: float = 0.1) -> Row:
    return {
        "experiment": experiment,
        "data": "digits",
        "model": model,
        "seed": seed,
        "learning_rate": learning_rate,
        "epochs": 10,
        "batch_size": 64,
        "num_train_images": 1293,
        "schedule": "cosine",
        "num_parameters": PARAMETERS[model],
        "num_multiply_adds": 100 * PARAMETERS[model],
        "train_seconds": 10.0 + math.sqrt(PARAMETERS[model]) / 50,
        "threads": 1,
        "data_checksum": "0123456789abcdef",
        "diverged": False,
        "reason": None,
        "commit": "c0ffee",
        "device": "cpu",
        "torch_version": "2.13.0",
    }


def comparison_row(model: str, seed: int, accuracy: float | None) -> Row:
    row = common("comparison", model, seed)
    tested: dict[str, Any] = {"test_accuracy": accuracy, "num_test": NUM_TEST}
    for key, value in (("test_loss", 0.08), ("auc_macro", 0.9987), ("auc_micro", 0.9989)):
        tested |= {key: value, f"{key}_low": value - 0.001 * seed, f"{key}_high": value + 0.001}
    tested |= {"calibration_error": 0.012}
    if accuracy is None:
        tested = dict.fromkeys(tested)
        row |= {"diverged": True, "reason": "loss nan", "train_seconds": None}
    return {
        **row,
        **tested,
        "best_validation_accuracy": 0.98,
        "best_epoch": 9,
        "images_per_second": 900.0,
        "peak_memory_bytes": 30 * PARAMETERS[model],
    }


CORRUPTIONS = {"gaussian_noise": 0.3, "contrast": 0.1}
"""By how much the accuracy falls, and by as much again at the second severity."""


def corruption_rows(model: str, seed: int, accuracy: float) -> list[Row]:
    return [
        {
            **common("corruption", model, seed),
            "corruption": name,
            "severity": severity,
            "num_test": 2000,
            "test_accuracy": accuracy - severity * loss,
        }
        for name, loss in CORRUPTIONS.items()
        for severity in (1, 2)
    ]


def tuning_row(model: str, learning_rate: float) -> Row:
    scores = {"best_validation_accuracy": 0.95 + learning_rate / 10, "best_validation_loss": 0.1}
    chosen = learning_rate == max(RATES)
    return {**common("tuning", model, 1, learning_rate), **scores, "best_epoch": 9, "chosen": chosen}


def curve_rows(model: str, learning_rate: float) -> list[Row]:
    """Accuracy creeps up, and jumps at each drop by 0.03 and a little of the run's own."""
    rows = []
    own = 0.001 * DEPTHS.index(model) + 0.002 * CURVE_RATES.index(learning_rate)
    for epoch in range(1, 11):
        num_drops = sum(epoch >= drop for drop in DROPS)
        accuracy = 0.8 + 0.005 * epoch + (0.03 + own) * num_drops - 0.1 * learning_rate
        rows.append(
            {
                **common("curve", model, 1, learning_rate),
                "schedule": "step",
                "epoch": epoch,
                "learning_rate_now": learning_rate * 0.1**num_drops,
                "train_loss": 0.7 * (1.05 - accuracy),
                "train_accuracy": accuracy + 0.01,
                "validation_loss": 1.05 - accuracy,
                "validation_accuracy": accuracy,
                "dropped": epoch in DROPS,
            }
        )
    return rows


def step_rows() -> list[Row]:
    """A step takes longer in the order of the models; 10 epochs of 1,293 images are 202.03 steps of 64."""
    made = {"batch_size": 64, "step_threads": 1, "commit": "c0ffee", "device": "cpu"}
    return [
        {
            "experiment": "steps",
            "data": "digits",
            "model": model,
            "step_seconds_median": 0.1 * number,
            "step_over_reference": float(number),
            **made,
        }
        for number, model in enumerate(ACCURACY, start=1)
    ]


def ablation_rows() -> list[Row]:
    variants = {"reference": "nothing: full reuse", "discard_layer_25": "discard_rate 0.25 by layer"}
    return [
        {
            **common("ablation", "densenet100", seed),
            "num_test": NUM_TEST,
            "test_accuracy": 0.97 + 0.001 * seed,
            "variant": variant,
            "changed": changed,
            "train_multiply_adds": (100 - 20 * index) * PARAMETERS["densenet100"],
            "step_seconds_median": 0.5 - 0.1 * index,
            "step_over_reference": 1 - 0.2 * index,
            "step_threads": 1,
            "peak_memory_bytes": (200 - 50 * index) * 2**20,
        }
        for index, (variant, changed) in enumerate(variants.items())
        for seed in (1, 2, 3)
    ]


def write_study(results: Path, num_seeds: int = 3) -> None:
    """Write every row file of digits, and none of cifar10, under `results`/study/runs."""
    folder = results / "study/runs"
    for model, accuracies in ACCURACY.items():
        rows = [tuning_row(model, rate) for rate in RATES]
        chosen = accuracies[:num_seeds]
        rows += [comparison_row(model, seed, value) for seed, value in enumerate(chosen, start=1)]
        rows += [
            row for seed, value in enumerate(chosen, start=1) for row in corruption_rows(model, seed, value)
        ]
        write_json(folder / f"compare-digits-{model}.json", rows)
        write_probabilities(folder / f"probabilities-digits-{model}.npz", chosen)
    write_json(folder / "steps-digits.json", step_rows())
    for model in DEPTHS:
        curves = [row for rate in CURVE_RATES for row in curve_rows(model, rate)]
        write_json(folder / f"curves-digits-{model}.json", curves)
    write_json(folder / "ablation-digits.json", ablation_rows())


def write_probabilities(path: Path, accuracies: tuple[float, ...]) -> None:
    """Probabilities of two classes, label 0 throughout, the first images right."""
    probabilities = np.full((len(accuracies), NUM_TEST, 2), (0.1, 0.9), dtype=np.float32)
    for one, accuracy in zip(probabilities, accuracies, strict=True):
        one[: round(accuracy * NUM_TEST)] = (0.9, 0.1)
    labels = np.zeros(NUM_TEST, dtype=np.int64)
    np.savez(path, labels=labels, seeds=np.arange(1, len(accuracies) + 1), probabilities=probabilities)
