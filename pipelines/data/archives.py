"""Reading `.npz` files from users: no pickles, and one clear line for whatever is wrong with a file."""

import lzma
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.config.show import one_line, show_key
from pipelines.data.sums import check_recorded_sum
from pipelines.errors import UserError

# What zipfile and numpy raise on files that are cut off, damaged, no archive at all, or hold objects.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    LookupError,
    MemoryError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


def read_npz(
    path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, npt.NDArray[np.generic]]:
    """Return the named arrays of the `.npz` file at `path`; arrays of other names are not read.

    Raises UserError where the file is missing, damaged or lacks a required array. Pickles are refused.
    """
    try:
        check_recorded_sum(path)
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise UserError(
                f"{path}: is a single array; an .npz archive with {', '.join(required)} is expected"
            )
        with archive:
            missing = [name for name in required if name not in archive]
            if missing:
                found = ", ".join(map(show_key, archive.files)) or "nothing"
                raise UserError(f"{path}: lacks the array {missing[0]!r}; it holds: {found}")
            return {name: archive[name] for name in (*required, *optional) if name in archive}
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or one_line(error)})") from None
    except _DAMAGE as error:
        reason = one_line(error) or type(error).__name__
        if "pickle" in reason:
            reason = "no array but something that only Python's pickle could read"
        raise UserError(
            f"{path}: is no valid .npz archive, perhaps cut off ({reason}); fetch or write it again"
        ) from None
