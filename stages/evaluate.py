"""Stage evaluate: every trained model on the test part."""

from pathlib import Path

from pipelines.command_line import stage_parser
from pipelines.config import DEFAULT_PATH, load_section
from pipelines.data import PreparedData, load_prepared
from pipelines.entry import run_stage
from pipelines.evaluation.config import EvaluateConfig
from pipelines.evaluation.kept import evaluate_kept
from pipelines.evaluation.stage import evaluate
from pipelines.tracking import TrackingConfig, open_run
from pipelines.training import BaselineConfig, TrainConfig


def main() -> None:
    """Evaluate the DenseNets of `train.depths` and the models of `baseline.models`, or kept networks."""
    parser = stage_parser(__doc__)
    parser.add_argument(
        "--checkpoints",
        type=Path,
        help="instead: a folder of kept networks, NAME/best.pt each; writes nothing",
    )
    parser.add_argument(
        "--data", type=Path, default=Path("data/prepared"), help="prepared data (default: %(default)s)"
    )
    arguments = parser.parse_args()
    config = load_section(EvaluateConfig, "evaluate", DEFAULT_PATH)
    data = load_prepared(arguments.data)
    if arguments.checkpoints is not None:
        for row in evaluate_kept(arguments.checkpoints, data, config):
            print(
                f"{row['kept']} ({row['model']}, seed {row['seed']}): test accuracy {row['test_accuracy']:.4f}"
            )
        return
    _evaluate_trained(config, data)


def _evaluate_trained(config: EvaluateConfig, data: PreparedData) -> None:
    tracking = load_section(TrackingConfig, "tracking", DEFAULT_PATH)
    depths = load_section(TrainConfig, "train", DEFAULT_PATH).depths
    baselines = load_section(BaselineConfig, "baseline", DEFAULT_PATH).models
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
