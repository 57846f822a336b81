"""Export a trained model as ONNX and as an MLflow model, both checked: `python -m stages.export`."""

from pathlib import Path

from pipelines.command_line import stage_parser
from pipelines.data import load_prepared
from pipelines.entry import run_stage
from pipelines.inference import choose_checkpoint
from pipelines.inference.export import export_model
from pipelines.training.sections import PREPARED

CHECKPOINTS = Path("checkpoints/recognition")
EXPORTS = Path("exports")


def main() -> None:
    """Parse the command line, export, print where to and how well the predictions agree."""
    parser = stage_parser(__doc__)
    parser.add_argument("--model", help="a trained model (default: the best on the validation part)")
    parser.add_argument(
        "--checkpoints",
        type=Path,
        default=CHECKPOINTS,
        help="folder of trained models (default: %(default)s)",
    )
    parser.add_argument("--data", type=Path, default=PREPARED, help="its data (default: %(default)s)")
    arguments = parser.parse_args()
    checkpoint = choose_checkpoint(arguments.checkpoints, arguments.model)
    folder = EXPORTS / checkpoint.parent.name
    row = export_model(checkpoint, load_prepared(arguments.data), folder)
    for kind in ("onnx", "mlflow"):
        print(
            f"{folder}/{'model.onnx' if kind == 'onnx' else kind}: probabilities of {row['num_images']} test images "
            f"differ by at most {row[f'{kind}_max_difference']:.1e}"
        )


if __name__ == "__main__":
    run_stage(main)
