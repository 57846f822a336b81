"""The experiment that runs go to: its kind, its description and its saved views."""

import mlflow

from pipelines.tracking.store import ARTIFACT_FOLDER
from pipelines.tracking.views import VIEWS, view_link, view_tag, view_value

# What the experiment is about, training or language models, for those MLflow versions whose pages ask the experiment;
# 3.17 asks the link (see `view_link`).
KIND_TAG = "mlflow.experimentKind"
KIND = "custom_model_development"
NOTE_TAG = "mlflow.note.content"


def open_experiment(client: mlflow.MlflowClient, name: str, uri: str) -> str:
    """Return the id of the experiment `name`, made where it is missing; what a user has set there stays."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        # A server knows where its artifacts go; beside a database file of ours they go into a folder of ours.
        location = None if uri.startswith("http") else ARTIFACT_FOLDER.absolute().as_uri()
        experiment_id, tags = str(client.create_experiment(name, artifact_location=location)), {}
    else:
        experiment_id, tags = str(experiment.experiment_id), experiment.tags
    for key, value in _wanted_tags(experiment_id).items():
        if key not in tags:
            client.set_experiment_tag(experiment_id, key, value)
    return experiment_id


def _wanted_tags(experiment_id: str) -> dict[str, str]:
    links = "\n".join(f"- [{view.name}]({view_link(experiment_id, view)}): {view.purpose}" for view in VIEWS)
    note = (
        "Recognition and gradient quantization, measured by gqbench. A parent run per pipeline run carries the "
        f"findings; saved views of the runs:\n\n{links}\n"
    )
    return {KIND_TAG: KIND, NOTE_TAG: note} | {view_tag(view): view_value(view) for view in VIEWS}
