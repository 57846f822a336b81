import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from pipelines import checkpoints
from pipelines.data import PreparedData
from pipelines.data.transforms import transform_images
from pipelines.errors import UserError
from pipelines.inference import choose_checkpoint, load_classifier, predict_files
from pipelines.inference import export as export_module
from pipelines.inference.export import export_model, run_onnx
from pipelines.results import read_json
from pipelines.training import predict_logits
from tests.unit.evaluation.trained_run import make_data, write_run


@pytest.fixture
def data() -> PreparedData:
    return make_data()


@pytest.fixture
def checkpoint(tmp_path: Path, data: PreparedData) -> Path:
    write_run(tmp_path, "densenet10", "densenet10", data)
    return tmp_path / "checkpoints/densenet10/best.pt"


def test_probabilities_are_those_of_the_evaluation(checkpoint: Path, data: PreparedData) -> None:
    classifier, _ = load_classifier(checkpoint)
    logits = predict_logits(classifier.model, data.test, data, batch_size=45, device=torch.device("cpu"))
    with torch.inference_mode():
        probabilities = classifier(data.test.images)
    # The same float32 operations in the same order.
    assert torch.equal(probabilities, torch.softmax(logits, dim=1))


def test_files_go_through_the_transform_of_the_training(
    checkpoint: Path, data: PreparedData, tmp_path: Path
) -> None:
    file = tmp_path / "0.png"
    Image.fromarray(data.test.images[0, 0].numpy()).save(file)
    checkpoints.save(checkpoints.load(checkpoint) | {"transform": "unsharp_mask"}, checkpoint)
    (prediction,) = predict_files([file], checkpoint, invert=False)
    classifier, _ = load_classifier(checkpoint)
    with torch.inference_mode():
        (expected,) = classifier(transform_images(data.test.images[:1], "unsharp_mask")).double().tolist()
    assert dict(prediction.probabilities) == dict(zip("abc", expected, strict=True))


@pytest.mark.parametrize("invert", [False, True])
def test_files_are_classified_as_their_pixels(
    invert: bool, checkpoint: Path, data: PreparedData, tmp_path: Path
) -> None:
    files = [tmp_path / f"{index}.png" for index in range(3)]
    for file, image in zip(files, data.test.images, strict=False):
        pixels = image[0].numpy()
        Image.fromarray(255 - pixels if invert else pixels).save(file)
    predictions = predict_files(files, checkpoint, invert=invert)
    classifier, _ = load_classifier(checkpoint)
    with torch.inference_mode():
        expected = classifier(data.test.images[:3]).double().numpy()
    for prediction, row in zip(predictions, expected, strict=True):
        values = [value for _, value in prediction.probabilities]
        assert values == sorted(values, reverse=True)
        assert dict(prediction.probabilities) == dict(zip("abc", row.tolist(), strict=True))


def test_colour_images_of_any_size_are_taken(checkpoint: Path, tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), "red").save(tmp_path / "red.png")
    (prediction,) = predict_files([tmp_path / "red.png"], checkpoint, invert=False)
    assert sum(value for _, value in prediction.probabilities) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("top", [-1, 0, 4])
def test_only_numbers_of_classes_can_be_asked_for(top: int, checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "red.png"
    Image.new("RGB", (30, 20), "red").save(file)
    with pytest.raises(
        UserError, match=rf"--top: {top} is not allowed; allowed: 1 to 3, the number of classes"
    ):
        predict_files([file], checkpoint, invert=False, top=top)
    whole, two = (predict_files([file], checkpoint, invert=False, top=top)[0] for top in (3, 2))
    assert len(whole.probabilities) == 3
    assert two.probabilities == whole.probabilities[:2]


def test_what_is_no_image_is_named(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(UserError, match=r"text.png: is no image"):
        predict_files([tmp_path / "text.png"], checkpoint, invert=False)
    with pytest.raises(UserError, match=r"missing.png: cannot be read"):
        predict_files([tmp_path / "missing.png"], checkpoint, invert=False)


def test_choice_of_the_checkpoint(tmp_path: Path, data: PreparedData) -> None:
    folder = tmp_path / "checkpoints"
    with pytest.raises(UserError, match="holds no trained model; run `make repro` first"):
        choose_checkpoint(folder, None)
    for name in ("densenet10", "densenet16", "densenet22"):
        write_run(tmp_path, name, name, data)
    path = folder / "densenet16/best.pt"
    content = checkpoints.load(path)
    content["history"][content["best_epoch"] - 1]["validation_accuracy"] = 0.9
    checkpoints.save(content, path)
    assert choose_checkpoint(folder, None) == path
    assert choose_checkpoint(folder, "densenet22") == folder / "densenet22/best.pt"
    with pytest.raises(
        UserError, match="--model: 'vgg' has not been trained; trained: densenet10, densenet16"
    ):
        choose_checkpoint(folder, "vgg")


def test_exports_predict_what_the_model_does(checkpoint: Path, data: PreparedData, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    row = export_model(checkpoint, data, folder)
    assert row == read_json(folder / "export.json")
    assert row["onnx_same_classes"]
    assert row["mlflow_same_classes"]
    # Ten layers in float32, sums of some hundred terms in another order: far below 100 roundings of 2^-24.
    assert 0 <= row["onnx_max_difference"] < 100 * 2**-24
    assert row["mlflow_max_difference"] == 0
    # A batch size of its own, another than at the export, and one image.
    for size in (7, 1):
        assert run_onnx(folder / "model.onnx", data.test.images[:size]).shape == (size, 3)
    properties = {entry.key: entry.value for entry in onnx.load(str(folder / "model.onnx")).metadata_props}
    assert json.loads(properties["class_names"]) == ["a", "b", "c"]
    assert loaded_elsewhere(folder / "mlflow", tmp_path) == (5, 3)


def loaded_elsewhere(model: Path, folder: Path) -> tuple[int, ...]:
    """Load the MLflow model in a process that knows nothing of this checkout; return its output's shape."""
    code = (
        "import sys, mlflow, numpy\n"
        "sys.path = [entry for entry in sys.path if entry]\n"
        f"model = mlflow.pyfunc.load_model({str(model)!r})\n"
        "print(list(model.predict(numpy.zeros((5, 1, 8, 8), numpy.float32)).shape))\n"
        "import pipelines; print(pipelines.__file__)\n"
    )
    environment = {"PATH": "/usr/bin", "HOME": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    shape, package = done.stdout.splitlines()
    assert Path(package).is_relative_to(model)
    return tuple(json.loads(shape))


@pytest.mark.parametrize("value", [0.34, float("nan")])
def test_an_export_that_predicts_otherwise_is_noticed(value: float) -> None:
    expected = np.full((4, 3), 1 / 3, dtype=np.float32)
    assert export_module._difference(expected, expected, "ONNX") == 0
    actual = expected.copy()
    actual[2, 1] = value
    with pytest.raises(RuntimeError, match="the ONNX export differs from the model by"):
        export_module._difference(actual, expected, "ONNX")


def test_a_model_of_other_data_is_not_exported(checkpoint: Path, data: PreparedData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="was trained on other data than data/prepared"):
        export_model(checkpoint, replace(data, checksum="1" * 64), tmp_path / "export")
