"""The codec in the frame of the systems: trained by the suite's loop, judged by its loss, kept, answered, drawn."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from pipelines.codec.files import compress_file, decompress_file, load_codec
from pipelines.codec.masks import Masking
from pipelines.codec.measures import as_picture
from pipelines.codec.network import Codec
from pipelines.config import load_section
from pipelines.data import PrepareConfig, load_prepared
from pipelines.data.preparation import prepare
from pipelines.errors import UserError
from pipelines.experiments.related import RelatedConfig
from pipelines.experiments.related.answers.claims import claim_rows
from pipelines.experiments.related.answers.page import system_parts
from pipelines.experiments.related.answers.tables import variant_rows
from pipelines.experiments.related.job import RelatedJob
from pipelines.experiments.related.runs.run import run
from pipelines.experiments.related.runs.trials import Trials
from pipelines.experiments.related.system import Context
from pipelines.experiments.related.systems import build_system
from pipelines.experiments.related.systems.sct import Sct, measured_images
from pipelines.experiments.study.job import Training
from pipelines.experiments.study.runs.worker import Trained, train_run
from pipelines.results import Row
from tests.configs import make_recipe
from tests.imports import ROOT
from tests.unit.codec.conftest import make_picture
from tests.unit.experiments.related import fake

CONFIG = load_section(RelatedConfig, "related", ROOT / "params.yaml")
COMMITTED = CONFIG.codecs["sct"]
assert isinstance(COMMITTED, dict)
SMALL = {
    "width": 2,
    "iterations": 2,
    "qualities": [8.0, 30.0],
    "compared_psnr": {"photographs": 9.0, "cifar10": 55.0},
    "rates": [0.01],
}


def with_options(**changes: object) -> Sct:
    assert isinstance(COMMITTED, dict)
    config = dataclasses.replace(CONFIG, codecs={"sct": COMMITTED | changes})
    system = build_system(config, "sct")
    assert isinstance(system, Sct)
    return system


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> RelatedJob:
    folder = tmp_path_factory.mktemp("sct")
    config = load_section(PrepareConfig, "prepare", fake.PARAMS)
    config = dataclasses.replace(config, name="photographs", train_limit=60, test_limit=8)
    prepare(config, folder / "data", folder / "samples.png")
    (folder / "kodak").mkdir()
    as_picture(make_picture(40, 50)).save(folder / "kodak" / "one.png")
    return dataclasses.replace(
        fake.make_job(folder),
        data="photographs",
        system=with_options(**SMALL, folder=str(folder / "kodak")),
        recipe=make_recipe(warmup_epochs=0.0),
        result_file=folder / "results" / "sct-photographs.json",
    )


@pytest.fixture(scope="module")
def rows(job: RelatedJob) -> list[Row]:
    """All rows but those of the workers, which tests/parallel/test_related.py trains."""

    def train_all(trainings: Sequence[Training], _: str) -> list[Trained]:
        return [train_run(one) for one in trainings]

    def nobody(_: RelatedJob, trials: Trials, __: Sequence[str]) -> dict[tuple[str, int], Row]:
        return {key: {} for key in trials.repeated}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.experiments.related.runs.trials.train_all", train_all)
        patch.setattr("pipelines.experiments.related.runs.run.train_on_workers", nobody)
        return run(job, [])


def of(rows: list[Row], experiment: str, variant: str) -> list[Row]:
    return [row for row in rows if row["experiment"] == experiment and row["variant"] == variant]


def test_every_variant_and_seed_is_measured_by_rate_and_not_by_accuracy(rows: list[Row]) -> None:
    for name in ("first_pass", "no_stops", "random_masks", "sct"):
        mine = of(rows, "run", name)
        assert [row["seed"] for row in mine] == [1, 2, 3]
        for row in mine:
            assert row["test_accuracy"] is None
            assert 0 < row["test_loss"] < 2
            assert 0 < row["bits_per_pixel"] < 8
            below = row["jpeg_bits_per_pixel"] - row["bits_per_pixel"]
            assert row["bits_per_pixel_below_jpeg"] == pytest.approx(below)
            assert row["compressed_bytes_per_step"] < row["reference_bytes_per_step"]
    assert {row["epochs"] for row in of(rows, "run", "no_stops")} == {2}


def test_the_curves_are_rows_of_their_own(rows: list[Row]) -> None:
    points = [row for row in of(rows, "curve", "no_stops") if row["seed"] == 1]
    settings = {
        name: [row["setting"] for row in points if row["codec"] == name]
        for name in {p["codec"] for p in points}
    }
    assert settings["no_stops"] == [0, 1, 2]
    assert settings["no_stops, stopped"] == [0.0, 8.0, 30.0]
    assert "jpeg" in settings
    assert {row["codec"] for row in of(rows, "curve", "sct")} == {"sct"}


def test_the_passes_start_from_one_another_with_masks_of_their_own(job: RelatedJob) -> None:
    data = load_prepared(job.data_folder)
    first, *others = job.system.variants()
    start = job.training(first, seed=1, learning_rate=0.1).build(data)
    again = job.training(first, seed=1, learning_rate=0.1).build(data)
    other = job.training(first, seed=2, learning_rate=0.1).build(data)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in start.state_dict().items())
    assert any(
        not torch.equal(tensor, other.state_dict()[name]) for name, tensor in start.state_dict().items()
    )
    masks = {}
    for variant in others:
        assert variant.make is not None
        network = variant.make(Context(data=data, seed=1, source=start))
        assert isinstance(network, Codec)
        assert network is start
        masks[variant.name] = network.masking
    assert masks["no_stops"] == Masking()
    assert (masks["random_masks"].random_share > 0, masks["random_masks"].qualities) == (True, None)
    assert (masks["sct"].random_share, masks["sct"].qualities) == (0, (18.0, 28.0))


def test_the_codec_that_is_kept_is_that_of_the_command(
    job: RelatedJob, rows: list[Row], tmp_path: Path
) -> None:
    assert rows
    saved = load_codec(job.kept_file)
    assert saved.quality == 28.0, "the highest that it was trained for"
    source = tmp_path / "photo.png"
    as_picture(make_picture(30, 20)).save(source)
    cost = compress_file(source, tmp_path / "photo.sct", job.kept_file, None)
    assert decompress_file(tmp_path / "photo.sct", tmp_path / "back.png", job.kept_file).shape == (3, 30, 20)
    assert cost.num_file_bytes > 0


def test_answers_table_page_and_picture(job: RelatedJob, rows: list[Row], tmp_path: Path) -> None:
    claim, *tests = claim_rows(job.system, "photographs", rows)
    assert claim["answer"] in ("holds", "does not hold", "not decided")
    assert [test["counted"] for test in tests] == [True, True, True, False, False]
    assert tests[2]["test"] == "sct: bits per pixel below jpeg"
    mine = [row["bits_per_pixel_below_jpeg"] for row in of(rows, "run", "sct")]
    assert tests[2]["difference"] == pytest.approx(sum(mine) / 3)
    variants = variant_rows(job.system, rows)
    for row in variants:
        assert row["bits_per_pixel_low"] <= row["bits_per_pixel_mean"] <= row["bits_per_pixel_high"]
        assert row["num_seeds"] == 3
    job.system.draw(rows, tmp_path / "sct-photographs-own.svg")
    assert "no_stops, stopped, after zlib" in (tmp_path / "sct-photographs-own.svg").read_text()
    page = "\n".join(system_parts(job.system, [*rows, *variants, claim, *tests], tmp_path))
    assert "bits a pixel before zlib" in page
    assert "test accuracy" not in page
    assert "quality against bits a pixel](sct-photographs-own.svg)" in page
    assert "cifar10: not run" in page


def test_the_best_epoch_is_the_one_of_least_loss(job: RelatedJob, tmp_path: Path) -> None:
    variant = job.system.variants()[0]
    training = dataclasses.replace(
        job.training(variant, seed=5, learning_rate=0.3),
        recipe=make_recipe(epochs=4, batch_size=16),
        checkpoints=tmp_path,
    )
    trained = train_run(training)
    losses = [row["validation_loss"] for row in trained.history]
    assert trained.summary["best_epoch"] == 1 + losses.index(min(losses))
    assert trained.summary["best_validation_accuracy"] is None
    assert all(
        row["validation_accuracy"] is None and math.isfinite(row["train_loss"]) for row in trained.history
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 3}, "related.codecs.sct.width: 3 is not allowed; allowed: an even number"),
        ({"iterations": 17}, "related.codecs.sct.iterations: 17 is not allowed; allowed: a whole number"),
        (
            {"qualities": [20.0, 10.0]},
            "related.codecs.sct.qualities: [20.0, 10.0] is not allowed; allowed: ascending",
        ),
        (
            {"random_share": 1.0},
            "related.codecs.sct.random_share: 1.0 is not allowed; allowed: a number above 0",
        ),
        (
            {"compared_psnr": {"photographs": 20.0, "cifar10": 80.0}},
            "related.codecs.sct.compared_psnr.cifar10: 80.0 is not allowed; allowed: a number from 5 to 60",
        ),
        (
            {"compared_psnr": {"photographs": 20.0}},
            "related.codecs.sct.compared_psnr: {'photographs': 20.0} is not allowed; allowed: a number for each of",
        ),
    ],
)
def test_a_wrong_parameter_is_named_in_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        with_options(**changes)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:

    with pytest.raises(
        UserError, match=r"related\.codecs\.sct\.folder: .* is not allowed; allowed: a folder with images"
    ):
        measured_images(str(tmp_path))
