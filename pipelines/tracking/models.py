"""PyTorch models in MLflow's format, in a run or in a folder."""

import contextlib
import io
import logging
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pytorch
import numpy as np
import numpy.typing as npt
import torch
from mlflow.models import infer_signature
from torch import nn

from pipelines.provenance import library_versions

REGISTERED_PREFIX = "gqbench-"
_PACKAGE = Path(__file__).resolve().parent.parent


def log_pytorch_model(
    uri: str, run_id: str, name: str, model: nn.Module, example: npt.NDArray[np.float32], step: int
) -> str:
    """Store `model` (on the CPU, in evaluation mode) in run `run_id` under `name`; return the stored model's id.

    It gets a signature, the input `example`, the run's parameters and its metrics at `step`, and becomes a version
    of the registered model gqbench-`name`.
    """
    arguments = _arguments(model, example)
    mlflow.set_tracking_uri(uri)
    # MLflow tells on stderr what it registers, in the middle of the progress bars.
    with mlflow.start_run(run_id=run_id), contextlib.redirect_stderr(io.StringIO()):
        info = mlflow.pytorch.log_model(
            model, name=name, step=step, registered_model_name=REGISTERED_PREFIX + name, **arguments
        )
    return str(info.model_id)


def save_pytorch_model(folder: Path, model: nn.Module, example: npt.NDArray[np.float32]) -> None:
    """Write `model` (on the CPU, in evaluation mode) to `folder`, which must not exist, as an MLflow model."""
    mlflow.pytorch.save_model(model, str(folder), **_arguments(model, example))


def predict_through_pyfunc(folder: Path, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the output of the MLflow model in `folder`, loaded by `mlflow.pyfunc`, for `images`."""
    return np.asarray(mlflow.pyfunc.load_model(str(folder)).predict(images))


def _arguments(model: nn.Module, example: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Return what describes `model` to MLflow: signature, example, requirements and the code that it needs.

    `mlflow.pyfunc.load_model` reads the model anywhere, for this package travels with it. Requirements are
    named here, as MLflow would start a subprocess that imports everything to infer them. Pickle, for
    torch.export of a DenseNet-200 takes 20 s where this takes 3.
    """
    with torch.inference_mode():
        output = model(torch.from_numpy(example)).numpy()
    versions = library_versions()
    names = {"torch": "torch_version", "torchvision": "torchvision_version", "numpy": "numpy_version"}
    # What MLflow has to say here (pickles execute code) is true of every torch.save.
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    return {
        "signature": infer_signature(example, output),
        "input_example": example,
        # A local version, such as 2.13.0+cpu, is on no index.
        "pip_requirements": [f"{name}=={versions[key].partition('+')[0]}" for name, key in names.items()],
        "code_paths": [str(_PACKAGE)],
        "serialization_format": "pickle",
    }
