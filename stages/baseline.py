"""Stage baseline@MODEL: train a model of the registry by the recipe of the DenseNets."""

from pipelines.command_line import stage_parser
from pipelines.entry import run_stage
from pipelines.training.job import run_training


def main() -> None:
    """Parse the command line and train."""
    parser = stage_parser(__doc__)
    parser.add_argument("--model", default="vgg16_bn", help="registered name (default: %(default)s)")
    row = run_training("baseline", parser.parse_args().model)
    print(
        f"{row['model']}: validation accuracy {row['best_validation_accuracy']:.4f} after epoch "
        f"{row['best_epoch']} of {row['epochs']}, {row['train_seconds']:.0f} s"
    )


if __name__ == "__main__":
    run_stage(main)
