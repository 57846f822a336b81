import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data import PreparedData, load_prepared
from pipelines.data.preparation import channel_statistics, prepare, resize, split_raw
from pipelines.data.raw import RawData
from pipelines.data.split import limit, stratified_pick
from pipelines.errors import UserError
from tests.soak import Tried, times


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(2, 40), min_size=2, max_size=8),
    share=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_stratified_pick(counts: list[int], share: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(seed).shuffle(labels)
    lowest, highest = len(counts), len(labels) - len(counts)
    num_picked = round(lowest + share * (highest - lowest))
    picked, rest = stratified_pick(labels, num_picked, np.random.default_rng(seed), "key")
    assert sorted([*picked, *rest]) == list(range(len(labels)))
    assert len(picked) == num_picked
    per_class = np.bincount(labels[picked], minlength=len(counts))
    assert (per_class >= 1).all()
    assert (per_class <= np.array(counts) - 1).all()


def test_stratified_pick_keeps_proportions() -> None:
    labels = np.repeat([0, 1, 2], [500, 300, 200])
    picked, _ = stratified_pick(labels, 101, np.random.default_rng(0), "key")
    # Exact shares are 50.5, 30.3, 20.2; the image left over goes to the largest remainder.
    assert np.bincount(labels[picked]).tolist() == [51, 30, 20]
    again, _ = stratified_pick(labels, 101, np.random.default_rng(0), "key")
    other, _ = stratified_pick(labels, 101, np.random.default_rng(1), "key")
    assert picked.tolist() == again.tolist() != other.tolist()


def test_limit_may_take_all_but_one() -> None:
    labels = np.arange(20) % 2
    assert len(limit(labels, 19, np.random.default_rng(0), "key")) == 19
    assert limit(labels, 20, np.random.default_rng(0), "key").tolist() == list(range(20))


def test_limits_never_move_the_test_border(make_config: Any) -> None:
    """With no official test split, test images are the same whatever part is trained on."""
    images = np.arange(400, dtype=np.uint16).view(np.uint8).reshape(400, 1, 1, 2)
    raw = RawData(
        class_names=("a", "b"),
        train_images=images,
        train_labels=np.arange(400) % 2,
        test_images=None,
        test_labels=None,
        source="x",
    )
    full = split_raw(raw, make_config())
    few = split_raw(raw, make_config(train_limit=50, validation_fraction=0.4))
    assert np.array_equal(full["test"][0], few["test"][0])
    assert len(few["train"][0]) == 30
    assert len(few["validation"][0]) == 20
    for parts in (full, few):
        used = [image.tobytes() for part, _ in parts.values() for image in part]
        assert len(set(used)) == len(used)


def test_statistics_equal_the_direct_formula() -> None:
    images = torch.randint(
        0, 256, (50, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    mean, std = channel_statistics(images)
    reference = images.double() / 255
    # Both accumulate in float64: agreement to some hundred roundings of 1e-16.
    assert np.allclose(mean, reference.mean((0, 2, 3)), rtol=0, atol=1e-13)
    assert np.allclose(std, reference.std((0, 2, 3), correction=0), rtol=0, atol=1e-13)
    assert channel_statistics(images.flip(0)) == (mean, std)


def test_resize_keeps_constants_and_type() -> None:
    images = torch.full((2, 3, 12, 9), 77, dtype=torch.uint8)
    assert torch.equal(resize(images, 6), torch.full((2, 3, 6, 6), 77, dtype=torch.uint8))
    assert resize(images, None) is images


def test_prepare_writes_what_load_reads_and_the_same_bytes_twice(tmp_path: Path, make_config: Any) -> None:
    summaries = [prepare(make_config(), tmp_path / run, tmp_path / run / "samples.png") for run in ("a", "b")]
    assert summaries[0] == summaries[1]
    for file in ("train.npz", "validation.npz", "test.npz", "meta.json", "samples.png"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    data = load_prepared(tmp_path / "a")
    assert (data.num_classes, data.num_channels, data.image_size) == (10, 1, 8)
    assert [len(data.train), len(data.validation), len(data.test)] == [1078, 270, 449]
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.dtype == torch.int64
    assert data.checksum == summaries[0]["data_checksum"]
    assert data.mean == tuple(summaries[0]["channel_mean"])
    other = prepare(make_config(seed=1), tmp_path / "c", tmp_path / "c.png")
    assert other["data_checksum"] != data.checksum


def test_statistics_come_from_the_training_part_alone(tmp_path: Path, make_config: Any) -> None:
    prepare(make_config(), tmp_path, tmp_path / "samples.png")
    data = load_prepared(tmp_path)
    assert (data.mean, data.std) == channel_statistics(data.train.images)


def test_many_classes_share_one_grid(tmp_path: Path, make_config: Any) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (90, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "own.npz", x_train=images, y_train=np.arange(90) % 30)
    config = make_config(
        name="npz", path=str(tmp_path / "own.npz"), validation_fraction=0.5, test_fraction=1 / 3
    )
    prepare(config, tmp_path / "out", tmp_path / "samples.png")
    assert (tmp_path / "samples.png").read_bytes().startswith(b"\x89PNG")


def load_or_message(folder: Path) -> tuple[PreparedData | None, str]:
    try:
        return load_prepared(folder), ""
    except UserError as error:
        return None, str(error)


def test_any_damage_of_prepared_files_is_named(tmp_path: Path, make_config: Any, tried: Tried) -> None:
    """Bytes are flipped and files cut off in many places; the line names the file, and nothing is taken for whole."""
    tried("damaged prepared files", 4 * times(60, 2000))
    prepare(make_config(train_limit=60, test_limit=20), tmp_path, tmp_path / "samples.png")
    whole = load_prepared(tmp_path)
    generator = random.Random(0)
    outcomes = Counter[str]()
    for path in [tmp_path / f"{name}.npz" for name in ("train", "validation", "test")] + [
        tmp_path / "meta.json"
    ]:
        content = path.read_bytes()
        for _ in range(times(60, 2000)):
            damaged = bytearray(content)
            damaged[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
            cut = generator.random() < 0.2
            path.write_bytes(content[: generator.randrange(len(content))] if cut else damaged)
            data, message = load_or_message(tmp_path)
            if data is None:
                assert message.startswith(str(tmp_path))
                assert "run the stage prepare again" in message
                assert message.isprintable()
                outcomes["named"] += 1
                continue
            # What no reader looks at (the time stamp of an archive, a detail of the summary) may change.
            assert data.checksum == whole.checksum
            assert all(
                torch.equal(getattr(getattr(data, split), part), getattr(getattr(whole, split), part))
                for split in ("train", "validation", "test")
                for part in ("images", "labels")
            )
            outcomes["harmless"] += 1
        path.write_bytes(content)
    print(f"{outcomes.total()} damaged prepared files: {dict(outcomes)}")
    assert outcomes["named"] > outcomes["harmless"]


@pytest.mark.parametrize("damage", ["missing", "meta", "array", "cut"])
def test_prepared_data_that_is_not_what_was_recorded(damage: str, tmp_path: Path, make_config: Any) -> None:
    prepare(make_config(), tmp_path, tmp_path / "samples.png")
    path = tmp_path / "test.npz"
    if damage == "missing":
        (tmp_path / "meta.json").unlink()
    elif damage == "meta":
        (tmp_path / "meta.json").write_text('{"name": ')
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        with np.load(path) as archive:
            changed = dict(archive)
        changed["labels"] = changed["labels"][::-1].copy()
        np.savez(path, **changed)
    with pytest.raises(UserError, match=r"run the stage prepare|is no valid .npz archive"):
        load_prepared(tmp_path)


def test_a_changed_array_is_named_with_both_checksums(tmp_path: Path, make_config: Any) -> None:
    prepare(make_config(), tmp_path, tmp_path / "samples.png")
    with np.load(tmp_path / "test.npz") as archive:
        np.savez(tmp_path / "test.npz", images=archive["images"], labels=archive["labels"][::-1])
    with pytest.raises(
        UserError, match=r"test\.npz: the arrays do not match .*SHA-256 [0-9a-f]{16}\.\.\., recorded"
    ):
        load_prepared(tmp_path)


def test_summary_is_json(tmp_path: Path, make_config: Any) -> None:
    summary = prepare(make_config(), tmp_path, tmp_path / "samples.png")
    assert json.loads(json.dumps(summary)) == summary
