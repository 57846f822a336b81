"""Codec files, which hold a trained network, and image files that are coded with it and decoded."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

from pipelines import checkpoints
from pipelines.checkpoints import CheckpointError
from pipelines.codec.coding import Pixels, decode, encode
from pipelines.codec.masks import Masking
from pipelines.codec.measures import as_picture, ms_ssim, psnr, squared_error
from pipelines.codec.network import Codec, CodecShape
from pipelines.codec.stream import DIGEST_BYTES, HEADER, StreamError, read_stream, write_stream
from pipelines.data.images import read_image
from pipelines.errors import UserError

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class SavedCodec:
    """A network as a codec file holds it."""

    codec: Codec
    """In evaluation mode, on the CPU."""
    weights: bytes
    """The first eight bytes of the SHA-256 of its weights: a coded image names them."""
    quality: float
    """PSNR in dB that blocks stop at where nothing else is asked for."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What coding an image cost, and what is left of it."""

    num_pixels: int
    num_file_bytes: int
    """Of the coded image: header, checksum and what zlib made of the codes."""
    num_body_bits: int
    """Of codes and lengths before zlib."""
    iterations: int
    """Of the block that has most."""
    mean_iterations: float
    """Over blocks."""
    psnr: float
    """In dB."""
    ms_ssim: float | None
    """None for an image that is too small."""
    seconds: float

    @property
    def bits_per_pixel(self) -> float:
        """Of the whole file."""
        return 8 * self.num_file_bytes / self.num_pixels

    @property
    def bits_per_pixel_before(self) -> float:
        """Before zlib, with header and checksum."""
        return (8 * (HEADER.size + DIGEST_BYTES) + self.num_body_bits) / self.num_pixels


def save_codec(codec: Codec, quality: float, path: Path) -> None:
    """Write a trained network to `path`, whole or not at all."""
    content = {
        "codec": FORMAT,
        "shape": codec.description(),
        "quality": quality,
        "state": codec.state_dict(),
    }
    checkpoints.save(content, path)


def load_codec(path: Path) -> SavedCodec:
    """Read what `save_codec` wrote; CheckpointError where it is missing, damaged or another checkpoint."""
    if not path.exists():
        raise CheckpointError(
            path, "is not there; `make related SYSTEM=sct` trains a codec and leaves it there"
        )
    content = checkpoints.load(path)
    if not isinstance(content, dict) or content.get("codec") != FORMAT:
        raise CheckpointError(path, "is no codec of this version; `make related SYSTEM=sct` trains one")
    blank = tuple(0.0 for _ in range(content["shape"]["num_channels"]))
    shape = CodecShape(**content["shape"])
    codec = Codec(shape, mean=blank, std=blank, masking=Masking())
    codec.load_state_dict(content["state"])
    return SavedCodec(codec=codec.eval(), weights=digest_of(codec), quality=content["quality"])


def digest_of(codec: Codec) -> bytes:
    """Return the first bytes of the SHA-256 of names, shapes and values of a network's weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(codec.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.digest()[:DIGEST_BYTES]


def compress_file(source: Path, target: Path, codec_file: Path, quality: float | None) -> Cost:
    """Code the image file `source` and write it to `target`.

    `quality`: PSNR in dB that blocks stop at; None: as the codec says. Raises UserError in one line where one of the
    files is missing, damaged or something else.
    """
    saved = load_codec(codec_file)
    pixels = read_image(source, grey=saved.codec.shape.num_channels == 1, size=None)
    start = time.perf_counter()
    wanted = saved.quality if quality is None else quality
    image, decoded = encode(saved.codec, pixels, saved.weights, wanted, saved.codec.iterations)
    content = write_stream(image)
    seconds = time.perf_counter() - start
    _write(target, content)
    return Cost(
        num_pixels=image.height * image.width,
        num_file_bytes=len(content),
        num_body_bits=image.num_body_bits,
        iterations=image.iterations,
        mean_iterations=float(image.lengths.mean()),
        psnr=psnr(squared_error(pixels, decoded)),
        ms_ssim=ms_ssim(pixels, decoded),
        seconds=seconds,
    )


def decompress_file(source: Path, target: Path, codec_file: Path) -> Pixels:
    """Decode the coded image `source`, write it to `target`, whose ending says as what, and return it.

    Raises UserError in one line where one of the files is missing, damaged or something else.
    """
    saved = load_codec(codec_file)
    try:
        image = read_stream(source.read_bytes())
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror})") from None
    except StreamError as error:
        raise UserError(f"{source}: {error}") from None
    if (image.weights, image.num_channels) != (saved.weights, saved.codec.shape.num_channels):
        raise UserError(
            f"{source}: was coded with the weights {image.weights.hex()}, but those of {codec_file} are "
            f"{saved.weights.hex()}; name the codec that it was coded with (--codec)"
        )
    if image.iterations > saved.codec.iterations:
        raise UserError(
            f"{source}: has {image.iterations} iterations; {codec_file} has {saved.codec.iterations}"
        )
    pixels = decode(saved.codec, image)
    try:
        as_picture(pixels).save(target)
    except ValueError:
        raise UserError(f"{target}: the ending is not allowed; allowed: .png, .jpg, .bmp, ...") from None
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror or error})") from None
    return pixels


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
