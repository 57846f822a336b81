"""Export of a trained model as ONNX and as an MLflow model, both checked against the original."""

import json
import logging
import shutil
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch

from pipelines.data import PreparedData
from pipelines.errors import UserError
from pipelines.inference.classifier import PixelClassifier, load_classifier
from pipelines.provenance import commit
from pipelines.results import Row, write_json
from pipelines.tracking.models import predict_through_pyfunc, save_pytorch_model
from pipelines.training import Checkpoint

ONNX_FILE = "model.onnx"
MLFLOW_FOLDER = "mlflow"
# Largest allowed difference of a probability. float32 sums in another order differ by 1e-7 to 1e-5 here; an
# operator that is not the same one differs by far more.
TOLERANCE = 1e-3
_MAX_IMAGES = 512
_EXAMPLES = 4

Floats = npt.NDArray[np.float32]


def export_model(checkpoint_path: Path, data: PreparedData, folder: Path) -> Row:
    """Export the checkpoint's model into `folder`, replacing what an earlier export left there.

    Writes model.onnx (images uint8 [batch, c, h, w] to probabilities; class names in its metadata), mlflow/
    (normalised images float32 to logits, for `mlflow.pyfunc`) and export.json: the returned row, with the
    largest difference of a probability on test images and whether all predicted classes agree. Raises
    RuntimeError where an export does not predict what the model does.
    """
    classifier, checkpoint = load_classifier(checkpoint_path)
    if checkpoint.data_checksum != data.checksum:
        raise UserError(f"{checkpoint_path}: was trained on other data than data/prepared; train it again")
    folder.mkdir(parents=True, exist_ok=True)
    images = data.test.images[:_MAX_IMAGES]
    with torch.inference_mode():
        expected = classifier(images).numpy()
    write_onnx(classifier, checkpoint, images[:_EXAMPLES], folder / ONNX_FILE)
    by_onnx = run_onnx(folder / ONNX_FILE, images)
    shutil.rmtree(folder / MLFLOW_FOLDER, ignore_errors=True)
    normalised = classifier.normalise(images).numpy()
    save_pytorch_model(folder / MLFLOW_FOLDER, classifier.model, normalised[:_EXAMPLES])
    logits = torch.from_numpy(predict_through_pyfunc(folder / MLFLOW_FOLDER, normalised))
    by_mlflow = torch.softmax(logits, dim=1).numpy()
    row: Row = {
        "model": checkpoint.spec.name,
        "data": data.name,
        "data_checksum": data.checksum,
        "num_images": len(images),
        "onnx_max_difference": _difference(by_onnx, expected, "ONNX"),
        "onnx_same_classes": bool((by_onnx.argmax(1) == expected.argmax(1)).all()),
        "onnx_bytes": (folder / ONNX_FILE).stat().st_size,
        "mlflow_max_difference": _difference(by_mlflow, expected, "MLflow"),
        "mlflow_same_classes": bool((by_mlflow.argmax(1) == expected.argmax(1)).all()),
        "commit": commit(),
    }
    write_json(folder / "export.json", row)
    return row


def write_onnx(
    classifier: PixelClassifier, checkpoint: Checkpoint, example: torch.Tensor, path: Path
) -> None:
    """Write `classifier` as ONNX with a free batch size; `example` is uint8 [b, c, h, w] with b of at least 2."""
    # The exporter reports its progress and every deprecation of torch's own code.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            classifier,
            (example,),
            str(path),
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    model = onnx.load(str(path))
    metadata = {
        "class_names": json.dumps(checkpoint.class_names),
        "model": checkpoint.spec.name,
        "data_checksum": checkpoint.data_checksum,
        "transform": checkpoint.transform or "none",
        "commit": commit(),
    }
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def run_onnx(path: Path, images: torch.Tensor) -> Floats:
    """Return the probabilities that ONNX Runtime computes on the CPU for uint8 images."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"images": images.numpy()})[0])


def _difference(actual: Floats, expected: Floats, name: str) -> float:
    """Return the largest difference of a probability; RuntimeError where it is beyond TOLERANCE."""
    largest = float(np.abs(actual - expected).max())
    if not largest <= TOLERANCE:
        raise RuntimeError(f"the {name} export differs from the model by {largest:.2e} in a probability")
    return largest
