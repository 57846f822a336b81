"""The file of a coded image: what is written is read, bit for bit, and every damage ends in one line."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.codec.network import NUM_BITS, STRIDE
from pipelines.codec.stream import (
    DIGEST_BYTES,
    HEADER,
    CodedImage,
    StreamError,
    _digest,
    body_of,
    read_stream,
    write_stream,
)

WEIGHTS = bytes(range(8))


@st.composite
def coded_images(draw: st.DrawFn) -> CodedImage:
    """Images from 1 x 1 pixels up, whose positions stop at any iterations, none and all included."""
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    rows, columns = -(-height // STRIDE), -(-width // STRIDE)
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    most = draw(st.integers(0, 16))
    lengths = generator.integers(0, most + 1, (rows, columns)).astype(np.uint8)
    if draw(st.booleans()):
        lengths[:] = most
    iterations = int(lengths.max())
    codes = generator.random((iterations, NUM_BITS, rows, columns)) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    codes &= (lengths > np.arange(iterations).reshape(-1, 1, 1))[:, None]
    return CodedImage(
        num_channels=draw(st.sampled_from([1, 3])),
        height=height,
        width=width,
        weights=WEIGHTS,
        lengths=lengths,
        codes=codes,
    )


def small_image() -> CodedImage:
    lengths = np.array([[2, 0], [1, 2]], dtype=np.uint8)
    codes = np.random.default_rng(0).random((2, NUM_BITS, 2, 2)) < 0.5
    codes &= (lengths > np.arange(2).reshape(-1, 1, 1))[:, None]
    return CodedImage(num_channels=3, height=20, width=31, weights=WEIGHTS, lengths=lengths, codes=codes)


@settings(max_examples=60, deadline=None)
@given(coded_images())
def test_what_is_written_is_read_bit_for_bit(image: CodedImage) -> None:
    found = read_stream(write_stream(image))
    for key in ("num_channels", "height", "width", "weights"):
        assert getattr(found, key) == getattr(image, key)
    assert np.array_equal(found.lengths, image.lengths)
    assert np.array_equal(found.codes, image.codes)


@settings(max_examples=40, deadline=None)
@given(coded_images())
def test_the_body_is_the_bits_one_by_one(image: CodedImage) -> None:
    """Against loops over positions, iterations and bits; stop codes are left out, and the count says so."""
    bits = ""
    rows, columns = image.lengths.shape
    places = [(row, column) for row in range(rows) for column in range(columns)]
    if len(set(image.lengths.ravel().tolist())) > 1:
        size = len(f"{int(image.lengths.max()):b}")
        bits += "".join(f"{image.lengths[place]:0{size}b}" for place in places)
    for iteration in range(int(image.lengths.max())):
        for channel in range(NUM_BITS):
            alive = [place for place in places if image.lengths[place] > iteration]
            bits += "".join("1" if image.codes[iteration, channel][place] else "0" for place in alive)
    assert image.num_body_bits == len(bits)
    filled = bits + "0" * (-len(bits) % 8)
    assert body_of(image) == bytes(int(filled[at : at + 8], 2) for at in range(0, len(filled), 8))


def test_the_file_is_header_body_and_checksum() -> None:
    image = small_image()
    content = write_stream(image)
    assert HEADER.size == 24
    assert zlib.decompress(content[HEADER.size : -DIGEST_BYTES]) == body_of(image)
    assert len(body_of(image)) == -(-(4 * 2 + NUM_BITS * 5) // 8)


def test_a_flipped_bit_anywhere_is_found() -> None:
    content = write_stream(small_image())
    for place in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(StreamError, match=r"^is "):
            read_stream(bytes(damaged))


def test_a_file_that_is_cut_off_anywhere_is_found() -> None:
    content = write_stream(small_image())
    for length in range(len(content)):
        with pytest.raises(StreamError, match=r"^is "):
            read_stream(content[:length])


def forged(body: bytes, **changes: int) -> bytes:
    """Return a file whose checksum is right and whose content is not: made on purpose, not by accident."""
    fields = {"version": 1, "channels": 3, "iterations": 2, "length_bits": 2, "width": 31, "height": 20}
    fields |= changes
    content = HEADER.pack(b"gqSC", *fields.values(), WEIGHTS) + body
    return content + _digest(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no image of this codec"),
        (b"\x89PNG and so on, longer than the header of a coded image", "is no image of this codec"),
        (forged(zlib.compress(b""), version=2), "is of version 2 of the format; this suite reads 1"),
        (forged(zlib.compress(b""), channels=2), "its header has values that no image has"),
        (forged(zlib.compress(b""), iterations=17, length_bits=5), "its header has values that no image has"),
        (forged(zlib.compress(b""), length_bits=1), "its header has values that no image has"),
        (forged(zlib.compress(b""), width=0), "its header has values that no image has"),
        (forged(zlib.compress(b""), width=2**31, height=2**31), "its header has values that no image has"),
        (forged(b"no zlib"), "its body cannot be unpacked"),
        (forged(zlib.compress(bytes(10**7))), "its body has another length"),
        (forged(zlib.compress(bytes(4)) + b"more"), "its body has another length"),
        (forged(zlib.compress(b"")), "its body ends within the lengths"),
        (forged(zlib.compress(b"\xff")), "its lengths are not those that its header says"),
        (forged(zlib.compress(b"\xaa")), "its body has another length"),
        (forged(zlib.compress(bytes(9)), length_bits=0), "its body has another length"),
    ],
)
def test_a_forged_file_ends_in_one_line(content: bytes, message: str) -> None:
    with pytest.raises(StreamError) as caught:
        read_stream(content)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
