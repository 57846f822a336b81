"""Reading image files into arrays of pixels.

What odd files become: 16 bits a channel keep the upper eight; CMYK becomes RGB; transparency is left out; a picture
that its EXIF tag calls rotated is turned upright; of an animation the first picture counts. Refused in one line:
empty and damaged files, 32-bit and floating-point pixels, more than MOST_PIXELS of them, and what is no regular file.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipelines.config.show import one_line
from pipelines.data.raw import Images
from pipelines.errors import UserError

MOST_PIXELS = 2**26
"""Width times height: 8192 x 8192. A few kilobytes can unpack to a picture that fills the memory."""

_GREY_MODES = frozenset({"1", "L", "LA"})
_WIDE_GREY = "I;16"  # and its forms with the byte order behind it
_REFUSED_MODES = frozenset({"I", "F"})
# What Pillow's readers raise on files that are damaged on purpose or by accident.
_DAMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    OverflowError,
    MemoryError,
    struct.error,
)


def is_grey(file: Path) -> bool:
    """Whether the image has no colours; UserError where it cannot be read."""
    with _opened(file) as image:
        return image.mode in _GREY_MODES or image.mode.startswith(_WIDE_GREY)


def read_image(file: Path, grey: bool, size: int | None) -> Images:
    """Return the image as uint8 [c, h, w], one channel if `grey`, else RGB.

    With `size` it is scaled (bicubic) and cropped at the centre to that square. Raises UserError where the
    file is no image, damaged or of a kind that is refused.
    """
    with _opened(file) as image:
        upright = ImageOps.exif_transpose(_eight_bits(image, file))
        converted = upright.convert("L" if grey else "RGB")
        if size is not None:
            converted = ImageOps.fit(converted, (size, size), Image.Resampling.BICUBIC)
    pixels = np.asarray(converted, dtype=np.uint8)
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _eight_bits(image: Image.Image, file: Path) -> Image.Image:
    """Return the image with at most eight bits a channel, its EXIF data kept."""
    if image.mode in _REFUSED_MODES:
        raise UserError(
            f"{file}: 32-bit pixels (mode {image.mode}) are not allowed; allowed: 8 or 16 bits a channel"
        )
    if not image.mode.startswith(_WIDE_GREY):
        return image
    narrow = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    narrow.info = image.info
    return narrow


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """Yield the opened image; whatever goes wrong with it inside the block is a UserError, too."""
    if file.exists() and not file.is_file():
        raise UserError(f"{file}: is no regular file; remove it")
    try:
        with Image.open(file) as image:
            if image.width * image.height > MOST_PIXELS:
                raise _too_large(file, f"{image.width} x {image.height}")
            yield image
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise _too_large(file, "far too many") from None
    except UnidentifiedImageError:
        empty = "is empty" if file.stat().st_size == 0 else "is no image that can be read"
        raise UserError(f"{file}: {empty}; remove or replace it") from None
    except FileNotFoundError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    except _DAMAGE as error:
        reason = one_line(error) or type(error).__name__
        raise UserError(f"{file}: is damaged or cut off ({reason}); remove or replace it") from None


def _too_large(file: Path, found: str) -> UserError:
    side = int(MOST_PIXELS**0.5)
    return UserError(
        f"{file}: {found} pixels are not allowed; allowed: at most {side} x {side}, or as many in another shape"
    )
