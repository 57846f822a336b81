"""Reading image files into arrays of pixels."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipelines.data.raw import Images
from pipelines.errors import UserError

_GREY_MODES = frozenset({"1", "L", "LA"})


def is_grey(file: Path) -> bool:
    """Whether the image has no colours; UserError where it cannot be read."""
    with _open(file) as image:
        return image.mode in _GREY_MODES


def read_image(file: Path, grey: bool, size: int | None) -> Images:
    """Return the image as uint8 [c, h, w], one channel if `grey`, else RGB.

    With `size` it is scaled (bicubic) and cropped at the centre to that square. Raises UserError where the
    file is no image or damaged.
    """
    with _open(file) as image:
        try:
            converted = image.convert("L" if grey else "RGB")
        except OSError as error:
            raise UserError(f"{file}: is damaged or cut off ({error}); remove or replace it") from None
    if size is not None:
        converted = ImageOps.fit(converted, (size, size), Image.Resampling.BICUBIC)
    pixels = np.asarray(converted, dtype=np.uint8)
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _open(file: Path) -> Image.Image:
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        raise UserError(f"{file}: is no image that can be read; remove or replace it") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from None
