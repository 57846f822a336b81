"""Label noise: transition matrices against a loop, draws against them, and what becomes of prepared data."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.config import load_yaml
from pipelines.config.loader import from_mapping
from pipelines.data import PrepareConfig, load_prepared
from pipelines.data.config import LabelNoiseConfig
from pipelines.data.label_noise import draw_labels, is_wrong, transition_matrix, with_label_noise
from pipelines.data.preparation import prepare, with_transform
from pipelines.errors import UserError
from tests.imports import ROOT

SYMMETRIC = LabelNoiseConfig(kind="symmetric", percent=20)
PAIR = LabelNoiseConfig(kind="pair", percent=45)


@pytest.mark.parametrize("noise", [SYMMETRIC, PAIR])
@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_a_transition_matrix_is_that_of_a_loop_over_both_classes(
    noise: LabelNoiseConfig, num_classes: int
) -> None:
    found = transition_matrix(noise, num_classes)
    for true in range(num_classes):
        for label in range(num_classes):
            share = noise.percent / 100
            if label == true:
                expected = 1 - share
            elif noise.kind == "symmetric":
                expected = share / (num_classes - 1)
            else:
                expected = share if label == (true + 1) % num_classes else 0.0
            assert found[true, label] == pytest.approx(expected, abs=1e-15)
    # A handful of roundings.
    assert found.sum(1) == pytest.approx(1, abs=1e-15 * num_classes)


@pytest.mark.parametrize("noise", [SYMMETRIC, PAIR])
def test_labels_are_drawn_as_often_as_the_matrix_says(noise: LabelNoiseConfig) -> None:
    count, classes = 20_000, 4
    matrix = transition_matrix(noise, classes)
    for true in range(classes):
        drawn = draw_labels(np.full(count, true), matrix, seed=true)
        shares = np.bincount(drawn, minlength=classes) / count
        # Five standard errors of a share, which none of these 32 goes beyond by chance.
        errors = 5 * np.sqrt(matrix[true] * (1 - matrix[true]) / count)
        assert (np.abs(shares - matrix[true]) <= errors).all()


def test_draws_follow_from_the_seed_alone_and_of_one_label_from_no_other() -> None:
    matrix = transition_matrix(SYMMETRIC, 5)
    labels = np.arange(300) % 5
    first = draw_labels(labels, matrix, 3)
    assert np.array_equal(first, draw_labels(labels, matrix, 3))
    assert not np.array_equal(first, draw_labels(labels, matrix, 4))
    assert np.array_equal(first[:100], draw_labels(labels[:100], matrix, 3))


@pytest.mark.parametrize("transform", [None, "unsharp_mask"])
def test_prepared_training_labels_are_noisy_and_nothing_else(
    make_config: Any, tmp_path: Path, transform: str | None
) -> None:
    plain, noisy = tmp_path / "plain", tmp_path / "noisy"
    prepare(make_config(transform=transform), plain, tmp_path / "samples.png")
    config = make_config(transform=transform, label_noise=PAIR)
    summary = prepare(config, noisy, tmp_path / "samples.png")
    assert json.loads((noisy / "meta.json").read_text())["label_noise_percent"] == 45
    before, after = load_prepared(plain), load_prepared(noisy)
    assert torch.equal(after.train.true_labels, before.train.labels)
    assert torch.equal(after.train.images, before.train.images)
    wrong = is_wrong(after.train)
    assert torch.equal(after.train.labels[wrong], (before.train.labels[wrong] + 1) % 10)
    assert summary["num_wrong_labels"] == int(wrong.sum())
    # Five standard errors around 45 % of 1,078 labels.
    assert abs(int(wrong.sum()) - 0.45 * 1078) < 5 * (0.45 * 0.55 * 1078) ** 0.5
    for part in ("validation", "test"):
        assert torch.equal(getattr(after, part).labels, getattr(before, part).labels)
        assert getattr(after, part).true_labels is None
    assert after.checksum != before.checksum
    assert (after.mean, after.std) == (before.mean, before.std)


def test_without_noise_the_files_are_as_they_were(make_config: Any, tmp_path: Path) -> None:
    summary = prepare(make_config(train_limit=60), tmp_path, tmp_path / "samples.png")
    assert (summary["label_noise_kind"], summary["num_wrong_labels"]) == (None, 0)
    with np.load(tmp_path / "train.npz") as archive:
        assert sorted(archive.files) == ["images", "labels"]


def test_true_labels_are_under_the_checksum_and_go_through_a_transform(
    make_config: Any, tmp_path: Path
) -> None:
    prepare(make_config(train_limit=60, label_noise=PAIR), tmp_path, tmp_path / "samples.png")
    data = load_prepared(tmp_path)
    assert torch.equal(with_transform(data, "unsharp_mask").train.true_labels, data.train.true_labels)
    with pytest.raises(ValueError, match="noisy already"):
        with_label_noise(data, SYMMETRIC, 0)
    with np.load(tmp_path / "train.npz") as archive:
        changed = dict(archive)
    changed["true_labels"] = changed["labels"]
    np.savez(tmp_path / "train.npz", **changed)
    with pytest.raises(UserError, match=r"train\.npz: the arrays do not match .*run the stage prepare again"):
        load_prepared(tmp_path)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (
            {"kind": "asymmetric", "percent": 20},
            "kind: 'asymmetric' is not allowed; allowed: symmetric, pair",
        ),
        (
            {"kind": "pair", "percent": 50},
            "percent: 50 is not allowed; allowed: a whole number of at least 1, at most 49",
        ),
        ({"kind": "symmetric", "percent": 0}, "percent: 0 is not allowed; allowed: a whole number"),
        ({"kind": "symmetric"}, "percent: this key is missing"),
        ({"kind": "pair", "percent": 5, "x": 1}, "x: unknown key (value 1); allowed: kind, percent"),
    ],
)
def test_a_wrong_noise_is_named_in_one_line(noise: dict[str, Any], message: str) -> None:
    section = load_yaml(ROOT / "params.yaml")["prepare"] | {"label_noise": noise}
    with pytest.raises(UserError) as caught:
        from_mapping(PrepareConfig, section, "prepare")
    assert str(caught.value).startswith(f"prepare.label_noise.{message}")


def test_more_noise_than_the_classes_bear_is_named(make_config: Any, tmp_path: Path) -> None:
    config = make_config(label_noise=LabelNoiseConfig(kind="symmetric", percent=90))
    with pytest.raises(
        UserError, match=r"percent: 90 is not allowed for 10 classes; allowed: below 90, so that"
    ):
        prepare(config, tmp_path, tmp_path / "samples.png")
