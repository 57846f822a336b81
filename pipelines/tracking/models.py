"""PyTorch models in MLflow's format, in a run or in a folder."""

import contextlib
import io
import logging
import shutil
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pytorch
import numpy as np
import numpy.typing as npt
import torch
from mlflow.entities import LoggedModelOutput, Metric
from mlflow.models import Model, infer_signature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.tracking.context.registry import resolve_tags
from torch import nn

from pipelines.provenance import library_versions
from pipelines.tracking.connection import Connection

REGISTERED_PREFIX = "gqbench-"
_MODEL_SCHEME = "models:/"
_PACKAGE = Path(__file__).resolve().parent.parent


class _Saved:
    """Stands where MLflow expects a flavor: it "saves" what `save_pytorch_model` has written before."""

    @staticmethod
    def save_model(path: str, mlflow_model: Model, folder: Path, source_run: str, **_: Any) -> None:
        """Copy `folder` to `path` and describe it as `mlflow_model`, which gets flavors, signature and run."""
        shutil.copytree(folder, path)
        mlflow_model.run_id = source_run
        saved = Model.load(str(folder))
        mlflow_model.flavors = saved.flavors
        mlflow_model.signature = saved.signature
        mlflow_model.saved_input_example_info = saved.saved_input_example_info
        mlflow_model.model_size_bytes = saved.model_size_bytes
        mlflow_model.save(str(Path(path) / MLMODEL_FILE_NAME))


def log_saved_model(connection: Connection, run_id: str, name: str, folder: Path, step: int) -> str:
    """Store the model that `save_pytorch_model` wrote to `folder` in run `run_id`; return the stored model's id.

    It gets the run's parameters and its metrics at `step`, and becomes a version of the registered model
    gqbench-`name`. One that the run has already is not stored again, and one of which a part arrived is completed.
    """
    registered = REGISTERED_PREFIX + name
    for version in connection.client.search_model_versions(f"run_id = '{run_id}'"):
        # A store in a database tells of a version's model in its source alone.
        if version.name == registered and version.source.startswith(_MODEL_SCHEME):
            return str(version.source.removeprefix(_MODEL_SCHEME))
    model_id = _begun_model(connection, run_id, name)
    _show_in_run(connection, run_id, model_id, step)
    mlflow.set_tracking_uri(connection.uri)
    # What MLflow has to say here (pickles execute code) is true of every torch.save, and it tells on stderr what it
    # registers, in the middle of the progress bars.
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with contextlib.redirect_stderr(io.StringIO()):
        Model.log(
            None,
            _Saved,
            model_id=model_id,
            registered_model_name=registered,
            flavor_name="pytorch",
            serialization_format="pickle",
            validate_serving_input=False,
            folder=folder,
            source_run=run_id,
        )
    return model_id


def _begun_model(connection: Connection, run_id: str, name: str) -> str:
    """Return the id of the run's model of this name, made where it is missing.

    Left to itself MLflow puts a model into the experiment of the process, not into the run's, where it is looked for.
    """
    client, experiment = connection.client, connection.experiment
    for model in client.search_logged_models([experiment], f"source_run_id = '{run_id}' and name = '{name}'"):
        return str(model.model_id)
    params = client.get_run(run_id).data.params
    return str(
        client.create_logged_model(experiment, name, run_id, tags=resolve_tags(), params=params).model_id
    )


def _show_in_run(connection: Connection, run_id: str, model_id: str, step: int) -> None:
    """Make the model one of the run's outputs, if it is not yet, and give it the run's metrics at `step`."""
    client = connection.client
    run = client.get_run(run_id)
    outputs = run.outputs.model_outputs if run.outputs else []
    if model_id not in [output.model_id for output in outputs]:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=step)])
    metrics = [
        Metric(metric.key, metric.value, metric.timestamp, step, model_id)
        for key in run.data.metrics
        for metric in client.get_metric_history(run_id, key)
        if metric.step == step
    ]
    client.log_batch(run_id, metrics=metrics)


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
