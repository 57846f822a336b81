"""Images coded and decoded: in memory, by files, and by the command."""

import itertools
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.signal import convolve2d

from pipelines.checkpoints import save
from pipelines.codec.coding import decode, encode, stages
from pipelines.codec.files import compress_file, decompress_file, load_codec, save_codec
from pipelines.codec.measures import (
    as_picture,
    block_deviation,
    jpeg,
    ms_ssim,
    psnr,
    rate_at,
    squared_error,
)
from pipelines.codec.network import NUM_BITS, STRIDE, Codec
from pipelines.codec.stream import DIGEST_BYTES, HEADER, read_stream, write_stream
from pipelines.errors import UserError
from tests.unit.codec.conftest import ITERATIONS, QUALITY, make_codec, make_picture

WEIGHTS = bytes(8)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([None, 5.0, 14.0, 60.0]),
    st.sampled_from([1, 3]),
)
def test_an_image_of_any_size_is_decoded_to_what_the_encoder_saw(
    height: int, width: int, quality: float | None, channels: int
) -> None:
    codec = make_codec(channels=channels).eval()
    picture = make_picture(height, width, channels)
    image, seen = encode(codec, picture, WEIGHTS, quality, ITERATIONS)
    assert seen.shape == picture.shape
    assert np.array_equal(decode(codec, read_stream(write_stream(image))), seen)


def test_blocks_stop_when_they_have_the_quality_and_not_before(codec: Codec) -> None:
    picture = make_picture(48, 80)
    every = list(stages(codec, picture, QUALITY, ITERATIONS))
    lengths = every[-1].lengths
    assert len(set(lengths.ravel().tolist())) > 1, "the picture has to have blocks of unequal difficulty"
    for before, after in itertools.pairwise(every):
        for row, column in np.ndindex(*lengths.shape):
            place = np.s_[:, row * STRIDE : (row + 1) * STRIDE, column * STRIDE : (column + 1) * STRIDE]
            reached = psnr(squared_error(picture[place], before.decoded[place]))
            goes_on = bool(after.lengths[row, column] > before.lengths[row, column])
            stood = bool(before.lengths[row, column] < len(before.codes))
            # Rounding to grey levels moves a PSNR by far less than a tenth of a dB here.
            if goes_on:
                assert not stood
                assert reached < QUALITY + 0.1
            elif not stood:
                assert reached > QUALITY - 0.1
    assert np.array_equal(every[-1].codes.any(1).sum(0) > 0, lengths > 0)


def test_without_a_quality_every_block_has_every_iteration(codec: Codec) -> None:
    image, _ = encode(codec, make_picture(20, 40), WEIGHTS, None, ITERATIONS)
    assert image.num_body_bits == 2 * 3 * ITERATIONS * NUM_BITS
    assert image.length_bits == 0


def test_the_codes_of_use_are_those_of_the_forward_pass(codec: Codec) -> None:
    """The loop of a training pass, in evaluation mode and without masks, decodes to the same image."""
    picture = make_picture(32, 48)
    _, seen = encode(codec, picture, WEIGHTS, None, ITERATIONS)
    images = (torch.tensor(picture).unsqueeze(0) / 255 - 0.5) / 0.25
    with torch.inference_mode():
        decoded = codec(images)[0, -1, :3]
    pixels = (decoded * 0.25 + 0.5).mul(255).round().clamp(0, 255).numpy()
    # A sum in another order may round to the neighbouring grey level.
    assert np.abs(pixels - seen).max() <= 1


def test_files_round_trip_and_their_cost_is_true(codec_file: Path, tmp_path: Path) -> None:
    picture = make_picture(37, 53)
    source, coded, back = (tmp_path / name for name in ("photo.png", "photo.sct", "back.png"))
    as_picture(picture).save(source)
    cost = compress_file(source, coded, codec_file, None)
    pixels = decompress_file(coded, back, codec_file)
    assert pixels.shape == picture.shape
    assert np.array_equal(np.asarray(Image.open(back)).transpose(2, 0, 1), pixels)
    assert cost.psnr == pytest.approx(10 * math.log10(255**2 / squared_error(picture, pixels)))
    assert cost.num_file_bytes == coded.stat().st_size
    assert cost.bits_per_pixel == pytest.approx(8 * coded.stat().st_size / (37 * 53))
    image = read_stream(coded.read_bytes())
    header_bits = 8 * (HEADER.size + DIGEST_BYTES)
    assert cost.bits_per_pixel_before * 37 * 53 == pytest.approx(header_bits + image.num_body_bits)
    assert cost.mean_iterations == pytest.approx(float(image.lengths.mean()))
    cheaper = compress_file(source, coded, codec_file, QUALITY - 6)
    assert cheaper.num_body_bits < cost.num_body_bits


def test_a_saved_codec_is_the_same_codec(codec: Codec, tmp_path: Path) -> None:
    save_codec(codec, QUALITY, tmp_path / "codec.pt")
    saved = load_codec(tmp_path / "codec.pt")
    assert (saved.quality, saved.codec.iterations, saved.codec.training) == (QUALITY, ITERATIONS, False)
    state = saved.codec.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in codec.state_dict().items())
    with torch.no_grad():
        codec.encoder.head.bias[0] += 1e-6
    save_codec(codec, QUALITY, tmp_path / "codec.pt")
    assert load_codec(tmp_path / "codec.pt").weights != saved.weights


def test_every_mistake_ends_in_one_line(codec_file: Path, tmp_path: Path) -> None:
    source, coded, other = (tmp_path / name for name in ("photo.png", "photo.sct", "other.pt"))
    as_picture(make_picture(20, 20)).save(source)
    compress_file(source, coded, codec_file, None)
    save_codec(make_codec(seed=1), QUALITY, other)
    damaged = tmp_path / "damaged.sct"
    damaged.write_bytes(coded.read_bytes()[:-1])
    foreign = tmp_path / "foreign.pt"
    save({"weights": 1}, foreign)
    out = tmp_path / "out.png"
    cases = [
        (lambda: decompress_file(damaged, out, codec_file), "damaged.sct: is damaged or cut off"),
        (lambda: decompress_file(source, out, codec_file), "photo.png: is no image of this codec"),
        (
            lambda: decompress_file(tmp_path / "none.sct", out, codec_file),
            "none.sct: cannot be read (No such",
        ),
        (lambda: decompress_file(coded, out, other), "photo.sct: was coded with the weights "),
        (lambda: decompress_file(coded, out, tmp_path / "none.pt"), "none.pt: is not there; `make related"),
        (lambda: decompress_file(coded, out, foreign), "foreign.pt: is no codec of this version"),
        (lambda: decompress_file(coded, tmp_path / "out.xyz", codec_file), "out.xyz: the ending is not"),
        (
            lambda: decompress_file(coded, tmp_path / "no" / "out.png", codec_file),
            "out.png: cannot be written",
        ),
        (lambda: compress_file(coded, out, codec_file, None), "photo.sct: is no image that can be read"),
        (
            lambda: compress_file(source, tmp_path / "no" / "x.sct", codec_file, None),
            "x.sct: cannot be written",
        ),
    ]
    for call, message in cases:
        with pytest.raises(UserError) as caught:
            call()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not out.exists()


def test_the_command_round_trips_a_photograph(
    codec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from stages.related import __main__ as command

    source = tmp_path / "photo.png"
    as_picture(make_picture(33, 50)).save(source)
    arguments = ["compress", "photo.png", "photo.sct", "--codec", str(codec_file), "--quality", "15"]
    monkeypatch.chdir(tmp_path)
    for typed, said in (
        (arguments, "bits a pixel"),
        (["decompress", "photo.sct", "back.png", *arguments[3:5]], "50 x 33"),
    ):
        monkeypatch.setattr("sys.argv", ["related", *typed])
        command.main()
        assert said in capsys.readouterr().out
    assert Image.open("back.png").size == (50, 33)
    monkeypatch.setattr("sys.argv", ["related", *arguments[:-1], "nan"])
    with pytest.raises(UserError, match="--quality: nan is not allowed; allowed: 5 to 60 dB"):
        command.main()
    monkeypatch.setattr("sys.argv", ["related", *arguments[:3]])
    with pytest.raises(
        UserError, match=r"sct-photographs\.pt: is not there; `make related SYSTEM=sct` trains"
    ):
        command.main()
    assert sorted(os.listdir()) == ["back.png", "codec.pt", "photo.png", "photo.sct"]


def test_psnr_and_the_deviation_of_blocks_are_as_defined() -> None:
    first, second = make_picture(40, 50), make_picture(40, 50, seed=1)
    error = np.mean([(int(a) - int(b)) ** 2 for a, b in zip(first.ravel(), second.ravel(), strict=True)])
    assert psnr(squared_error(first, second)) == pytest.approx(10 * np.log10(255**2 / error))
    assert psnr(0.0) == math.inf
    blocks = [
        psnr(squared_error(first[:, y : y + 16, x : x + 16], second[:, y : y + 16, x : x + 16]))
        for y in (0, 16)
        for x in (0, 16, 32)
    ]
    assert block_deviation(first, second) == pytest.approx(np.std(blocks))
    assert block_deviation(first[:, :10], second[:, :10]) == 0


def test_ms_ssim_is_the_formula_of_wang() -> None:
    """Five scales by scipy in float64: contrast and structure at each, luminance at the last; halved by 2 x 2 means."""
    first, second = make_picture(161, 180, 1), make_picture(161, 180, 1, seed=1)
    axis = np.exp(-np.square(np.arange(11) - 5) / (2 * 1.5**2))
    window = np.outer(axis, axis) / axis.sum() ** 2

    def smooth(values: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return np.asarray(convolve2d(values, window, mode="valid"))

    def halved(values: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        # The library pads an odd side with a zero before it, and counts it in the mean.
        padded = np.pad(values, [(side % 2, 0) for side in values.shape])
        rows, columns = (side // 2 for side in padded.shape)
        return np.asarray(padded[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).mean((1, 3)))

    weights = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]
    x, y = first[0].astype(float), second[0].astype(float)
    expected = 1.0
    for scale, weight in enumerate(weights):
        mx, my = smooth(x), smooth(y)
        vx, vy = smooth(x * x) - mx**2, smooth(y * y) - my**2
        structure = (2 * (smooth(x * y) - mx * my) + (0.03 * 255) ** 2) / (vx + vy + (0.03 * 255) ** 2)
        luminance = (2 * mx * my + (0.01 * 255) ** 2) / (mx**2 + my**2 + (0.01 * 255) ** 2)
        last = scale == len(weights) - 1
        expected *= float((structure * luminance if last else structure).mean()) ** weight
        x, y = halved(x), halved(y)
    assert ms_ssim(first, second) == pytest.approx(expected, rel=1e-4)  # the library's window is of float32
    assert ms_ssim(first[:, :160], second[:, :160]) is None


def test_a_rate_is_read_off_the_curve() -> None:
    rates, qualities = [0.4, 0.1, 0.2], [30.0, 20.0, 24.0]
    assert rate_at(rates, qualities, 22.0) == pytest.approx(0.15)
    assert rate_at(rates, qualities, 30.0) == pytest.approx(0.4)
    assert rate_at(rates, qualities, 19.9) == pytest.approx(0.1)
    assert rate_at(rates, qualities, 30.1) is None
    assert rate_at([0.1, 0.2, 0.3], [20.0, 20.0, 21.0], 20.0) == pytest.approx(0.1)


def test_jpeg_is_a_file_that_others_read(tmp_path: Path) -> None:
    picture = make_picture(24, 30)
    content, decoded = jpeg(picture, 90)
    (tmp_path / "a.jpg").write_bytes(content)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.jpg")).transpose(2, 0, 1), decoded)
    grey, decoded = jpeg(picture[:1], 90)
    assert len(grey) < len(content)
    assert decoded.shape == (1, 24, 30)
