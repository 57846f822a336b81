"""The file of a coded image: a header, then by zlib the lengths of the positions' codes and the codes, then a checksum.

Header, big-endian (`HEADER`): the magic `gqSC`; the version; channels; iterations; the bits of a length; width and
height in pixels; the first eight bytes of the SHA-256 of the network's weights. Then the compressed body, then the
first eight bytes of the SHA-256 of all before.

The body is bits, the first in the highest of a byte, filled up with zeros. First the lengths, row by row: after how
many iterations each position has stopped. Where all have the same, the number of iterations, a length has no bits.
Then the codes: iteration by iteration, bit by bit of the `NUM_BITS`, the positions that have not stopped, row by row; 1
stands for +1. Stop codes are thus trimmed: a reader fills them in.
"""

import hashlib
import math
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.codec.network import MOST_ITERATIONS, NUM_BITS, STRIDE
from pipelines.errors import UserError

MAGIC = b"gqSC"
VERSION = 1
HEADER = struct.Struct(">4sBBBBII8s")
DIGEST_BYTES = 8
MOST_POSITIONS = 2**26 // STRIDE**2
"""As many pixels as an image may have that this suite reads, `pipelines.data.images.MOST_PIXELS`."""
LEVEL = 9

Lengths = npt.NDArray[np.uint8]
Bits = npt.NDArray[np.bool_]


class StreamError(UserError):
    """A file is no coded image, or damaged; the message says what is wrong, without the file's name."""


@dataclass(frozen=True, kw_only=True)
class CodedImage:
    """An image as it is written."""

    num_channels: int
    height: int
    width: int
    """Of the image, in pixels."""
    weights: bytes
    """The first eight bytes of the SHA-256 of the network's weights."""
    lengths: Lengths
    """[p, q], after how many iterations each position has stopped."""
    codes: Bits
    """[t, NUM_BITS, p, q]; t is the greatest length. False, the stop code, where a position has stopped."""

    @property
    def iterations(self) -> int:
        """Iterations of the position that has most."""
        return len(self.codes)

    @property
    def length_bits(self) -> int:
        """Bits of a position's length."""
        return 0 if bool((self.lengths == self.iterations).all()) else self.iterations.bit_length()

    @property
    def num_body_bits(self) -> int:
        """Bits of lengths and codes before zlib: the rate of the codec itself."""
        return self.lengths.size * self.length_bits + NUM_BITS * int(self.lengths.sum(dtype=np.int64))


def positions_of(height: int, width: int) -> tuple[int, int]:
    """Return the rows and columns of positions that cover an image."""
    return math.ceil(height / STRIDE), math.ceil(width / STRIDE)


def write_stream(image: CodedImage) -> bytes:
    """Return the file's bytes."""
    header = HEADER.pack(
        MAGIC,
        VERSION,
        image.num_channels,
        image.iterations,
        image.length_bits,
        image.width,
        image.height,
        image.weights,
    )
    content = header + zlib.compress(body_of(image), LEVEL)
    return content + _digest(content)


def body_of(image: CodedImage) -> bytes:
    """Return lengths and codes as they are before zlib."""
    shifts = np.arange(image.length_bits - 1, -1, -1)
    lengths = (image.lengths.reshape(-1, 1) >> shifts & 1).astype(np.bool_)
    active = _active(image.lengths, image.iterations)
    codes = [codes[:, alive].ravel() for codes, alive in zip(image.codes, active, strict=True)]
    return np.packbits(np.concatenate([lengths.ravel(), *codes])).tobytes()


def read_stream(content: bytes) -> CodedImage:
    """Return what `write_stream` wrote; StreamError for anything else, without decoding a byte of it."""
    if not content.startswith(MAGIC):
        raise StreamError("is no image of this codec")
    if len(content) < HEADER.size + DIGEST_BYTES:
        raise StreamError(f"is cut off: it has {len(content)} bytes")
    _, version, channels, iterations, length_bits, width, height, weights = HEADER.unpack_from(content)
    if version != VERSION:
        raise StreamError(f"is of version {version} of the format; this suite reads {VERSION}")
    checked, found = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    if _digest(checked) != found:
        raise StreamError("is damaged or cut off: its checksum does not match its content")
    rows, columns = positions_of(height, width)
    fits = channels in (1, 3) and iterations <= MOST_ITERATIONS and 0 < rows * columns <= MOST_POSITIONS
    if not fits or length_bits not in (0, iterations.bit_length()):
        raise StreamError("is damaged: its header has values that no image has")
    most = rows * columns * (length_bits + NUM_BITS * iterations)
    bits = _inflate(checked[HEADER.size :], most)
    lengths = _read_lengths(bits, (rows, columns), length_bits, iterations)
    codes = _read_codes(bits[lengths.size * length_bits :], lengths, iterations)
    return CodedImage(
        num_channels=channels, height=height, width=width, weights=weights, lengths=lengths, codes=codes
    )


def _inflate(compressed: bytes, most_bits: int) -> Bits:
    """Return the bits of the body, at most `most_bits` and those that fill the last byte."""
    reader = zlib.decompressobj()
    most_bytes = math.ceil(most_bits / 8)
    try:
        # One byte more than there may be: zlib stops there, however much a few bytes would unpack to. 0 would be all.
        body = reader.decompress(compressed, most_bytes + 1)
    except zlib.error:
        raise StreamError("is damaged: its body cannot be unpacked") from None
    if len(body) > most_bytes or not reader.eof or reader.unused_data:
        raise StreamError("is damaged: its body has another length than its header says")
    return np.unpackbits(np.frombuffer(body, dtype=np.uint8)).astype(np.bool_)


def _read_lengths(bits: Bits, shape: tuple[int, int], length_bits: int, iterations: int) -> Lengths:
    if length_bits == 0:
        return np.full(shape, iterations, dtype=np.uint8)
    count = shape[0] * shape[1]
    if len(bits) < count * length_bits:
        raise StreamError("is damaged: its body ends within the lengths")
    powers = 1 << np.arange(length_bits - 1, -1, -1)
    lengths = (bits[: count * length_bits].reshape(count, length_bits) @ powers).astype(np.uint8)
    if int(lengths.max()) != iterations:
        raise StreamError("is damaged: its lengths are not those that its header says")
    return lengths.reshape(shape)


def _read_codes(bits: Bits, lengths: Lengths, iterations: int) -> Bits:
    num_bits = NUM_BITS * int(lengths.sum(dtype=np.int64))
    # What fills the last byte is fewer than eight bits; lengths before it may have left their own share of them.
    if not 0 <= len(bits) - num_bits < 8:
        raise StreamError("is damaged: its body has another length than its header says")
    codes = np.zeros((iterations, NUM_BITS, *lengths.shape), dtype=np.bool_)
    start = 0
    for plane, alive in zip(codes, _active(lengths, iterations), strict=True):
        end = start + NUM_BITS * int(alive.sum())
        plane[:, alive] = bits[start:end].reshape(NUM_BITS, -1)
        start = end
    return codes


def _active(lengths: Lengths, iterations: int) -> Bits:
    """Return [t, p, q]: whether a position is still coded in an iteration."""
    return np.asarray(lengths[None] > np.arange(iterations).reshape(-1, 1, 1))


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:DIGEST_BYTES]
