"""Print the class probabilities of image files: `python -m stages.predict IMAGE...`."""

from pathlib import Path

from pipelines.command_line import stage_parser
from pipelines.entry import run_stage
from pipelines.inference import choose_checkpoint, predict_files

CHECKPOINTS = Path("checkpoints/recognition")
DEFAULT_TOP = 5


def main() -> None:
    """Parse the command line, classify, print the most probable classes of each image."""
    parser = stage_parser(__doc__)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--model", help="a trained model (default: the best on the validation part)")
    parser.add_argument(
        "--checkpoints",
        type=Path,
        default=CHECKPOINTS,
        help="folder of trained models (default: %(default)s)",
    )
    parser.add_argument("--top", type=int, help=f"classes to print (default: at most {DEFAULT_TOP})")
    parser.add_argument("--invert", action="store_true", help="swap dark and light (ink on paper)")
    arguments = parser.parse_args()
    checkpoint = choose_checkpoint(arguments.checkpoints, arguments.model)
    predictions = predict_files(arguments.images, checkpoint, invert=arguments.invert, top=arguments.top)
    print(f"model: {checkpoint.parent.name}")
    for prediction in predictions:
        print(prediction.file)
        for name, probability in prediction.probabilities[: arguments.top or DEFAULT_TOP]:
            print(f"  {probability:.4f}  {name}")


if __name__ == "__main__":
    run_stage(main)
