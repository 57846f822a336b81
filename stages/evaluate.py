"""Stage evaluate: every trained model on the test part."""

from pathlib import Path

from pipelines.config import DEFAULT_PATH, load_section
from pipelines.data import load_prepared
from pipelines.entry import run_stage, take_no_arguments
from pipelines.evaluation import EvaluateConfig, evaluate
from pipelines.tracking import TrackingConfig, open_run
from pipelines.training import BaselineConfig, TrainConfig


def main() -> None:
    """Evaluate the DenseNets of `train.depths` and the models of `baseline.models`."""
    take_no_arguments("evaluate", __doc__)
    config = load_section(EvaluateConfig, "evaluate", DEFAULT_PATH)
    tracking = load_section(TrackingConfig, "tracking", DEFAULT_PATH)
    depths = load_section(TrainConfig, "train", DEFAULT_PATH).depths
    baselines = load_section(BaselineConfig, "baseline", DEFAULT_PATH).models
    data = load_prepared(Path("data/prepared"))
    tags = {"data_checksum": data.checksum, "seed": config.seed}
    with open_run(tracking, "evaluate", None, tags) as tracker:
        rows = evaluate(
            [*(f"densenet{depth}" for depth in depths), *baselines],
            data,
            config,
            checkpoints=Path("checkpoints/recognition"),
            results=Path("results"),
            tracker=tracker,
        )
    for row in rows:
        print(f"{row['model']} (seed {row['seed']}): test accuracy {row['test_accuracy']:.4f}")


if __name__ == "__main__":
    run_stage(main)
