"""The image codec that `make related SYSTEM=sct` trains: `python -m stages.related compress IN OUT`, `decompress`."""

import argparse
from pathlib import Path

from pipelines.codec.files import Cost, compress_file, decompress_file
from pipelines.command_line import stage_parser
from pipelines.entry import run_stage
from pipelines.errors import UserError

CODEC = Path("checkpoints/related/codecs/sct-photographs.pt")
LEAST_QUALITY, MOST_QUALITY = 5.0, 60.0


def main() -> None:
    """Parse the command line and do what its first word says."""
    arguments = _parser().parse_args()
    if arguments.action == "compress":
        quality = arguments.quality
        if quality is not None and not LEAST_QUALITY <= quality <= MOST_QUALITY:
            raise UserError(
                f"--quality: {quality} is not allowed; allowed: {LEAST_QUALITY:g} to {MOST_QUALITY:g} dB"
            )
        _print(compress_file(arguments.source, arguments.target, arguments.codec, quality), arguments.target)
    else:
        pixels = decompress_file(arguments.source, arguments.target, arguments.codec)
        _, height, width = pixels.shape
        print(f"{arguments.target}: {width} x {height} pixels")


def _parser() -> argparse.ArgumentParser:
    parser = stage_parser(__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    compress = actions.add_parser("compress", help="code an image file, and say what it cost")
    compress.add_argument(
        "--quality", type=float, metavar="DB", help="PSNR that a block stops at (default: the codec's)"
    )
    decompress = actions.add_parser("decompress", help="make an image file of a coded one")
    for one in (compress, decompress):
        one.add_argument("source", type=Path, metavar="IN")
        one.add_argument("target", type=Path, metavar="OUT")
        one.add_argument(
            "--codec", type=Path, default=CODEC, metavar="FILE", help="trained codec (default: %(default)s)"
        )
    return parser


def _print(cost: Cost, target: Path) -> None:
    similarity = "image too small for MS-SSIM" if cost.ms_ssim is None else f"MS-SSIM {cost.ms_ssim:.4f}"
    print(
        f"{target}: {cost.num_file_bytes:,} bytes, {cost.bits_per_pixel:.3f} bits a pixel "
        f"({cost.bits_per_pixel_before:.3f} before zlib)"
    )
    print(f"PSNR {cost.psnr:.2f} dB, {similarity}")
    print(
        f"{cost.mean_iterations:.2f} iterations a block, at most {cost.iterations}; {cost.seconds:.1f} s of coding"
    )


if __name__ == "__main__":
    run_stage(main)
