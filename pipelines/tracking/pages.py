"""Links into MLflow's pages: `python -m pipelines.tracking.pages http://127.0.0.1:5000` prints them."""

import argparse

from pipelines.config import DEFAULT_PATH, load_section
from pipelines.entry import run_stage
from pipelines.tracking.config import TrackingConfig
from pipelines.tracking.store import check_store, prepare_environment, store_uri
from pipelines.tracking.views import VIEWS, view_link


def main() -> None:
    """Print a link to each saved view of the experiment in the store of params.yaml."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.tracking.pages", description=__doc__)
    parser.add_argument("server", help="address that the pages are served at")
    server = parser.parse_args().server.rstrip("/")
    config = load_section(TrackingConfig, "tracking", DEFAULT_PATH)
    uri, key = store_uri(config)
    check_store(uri, key)
    prepare_environment()
    from pipelines.tracking.connection import open_client

    experiment = open_client(uri).get_experiment_by_name(config.experiment)
    if experiment is None:
        print(f"the store has no experiment {config.experiment!r} yet")
        return
    width = max(len(view.name) for view in VIEWS)
    for view in VIEWS:
        print(f"{view.name:<{width}}  {server}/{view_link(str(experiment.experiment_id), view)}")


if __name__ == "__main__":
    run_stage(main)
