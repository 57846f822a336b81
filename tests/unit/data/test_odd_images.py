"""Odd, huge, damaged and hostile image files and folders: each has one defined outcome."""

import os
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.data.images import MOST_PIXELS, is_grey, read_image
from pipelines.data.preparation import prepare
from pipelines.data.raw import SOURCES
from pipelines.errors import UserError
from tests.soak import Tried, times

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
COLOURS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def refused(file: Path, expected: str) -> None:
    for read in (lambda: is_grey(file) and read_image(file, True, None), lambda: read_image(file, False, 8)):
        with pytest.raises(UserError) as caught:
            read()
        assert str(caught.value).startswith(f"{file}: {expected}"), str(caught.value)
        assert str(caught.value).isprintable()


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds a few bytes: a decompression bomb's beginning."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(2**14, 2**13), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "bomb.png").write_bytes(png_header(*size))
    with pytest.raises(
        UserError, match=r"bomb\.png: .* pixels are not allowed; allowed: at most 8192 x 8192"
    ):
        read_image(tmp_path / "bomb.png", True, 8)
    assert size[0] * size[1] > MOST_PIXELS


def test_a_bomb_in_the_text_of_a_png_is_refused(tmp_path: Path) -> None:
    text = b"comment\0\0" + zlib.compress(b"x" * 2**26)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    whole = png_header(8, 8)
    (tmp_path / "bomb.png").write_bytes(whole[:33] + chunk + whole[33:])
    refused(tmp_path / "bomb.png", "is damaged or cut off (Decompressed data too large")


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    refused(tmp_path / "x.png", "is empty; remove or replace it")


def test_16_bits_keep_the_upper_eight(tmp_path: Path) -> None:
    for suffix in ("png", "tif"):
        file = tmp_path / f"x.{suffix}"
        Image.fromarray(GREY.astype(np.uint16) * 256 + 255).save(file)
        assert is_grey(file)
        assert np.array_equal(read_image(file, True, None), GREY[None])
        assert np.array_equal(read_image(file, False, None), np.stack([GREY] * 3))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bits_are_refused(tmp_path: Path, dtype: Any) -> None:
    Image.fromarray(GREY.astype(dtype)).save(tmp_path / "x.tif")
    with pytest.raises(
        UserError, match=r"x\.tif: 32-bit pixels \(mode [IF]\) are not allowed; allowed: 8 or 16"
    ):
        read_image(tmp_path / "x.tif", False, None)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    ink = np.zeros((8, 8, 4), dtype=np.uint8)
    ink[..., 0] = 255  # cyan alone
    Image.fromarray(ink, "CMYK").save(tmp_path / "x.tif")
    assert not is_grey(tmp_path / "x.tif")
    assert np.array_equal(read_image(tmp_path / "x.tif", False, None)[:, 0, 0], [0, 255, 255])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_picture_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    """EXIF 2.32, tag 274: what the eight values mean, written as numpy operations from stored to upright."""
    upright = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(np.transpose(a), 2),
        8: np.rot90,
    }
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(GREY[:, :5]).save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "x.png", True, None)[0], upright[orientation](GREY[:, :5]))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1"])
def test_transparency_and_palettes(tmp_path: Path, mode: str) -> None:
    Image.fromarray(COLOURS).convert(mode).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png", False, None).shape == (3, 8, 8)
    assert is_grey(tmp_path / "x.png") == (mode in ("LA", "1"))


def test_of_an_animation_the_first_picture_counts(tmp_path: Path) -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert np.array_equal(read_image(tmp_path / "x.gif", True, None)[0], GREY)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    refused(tmp_path / "x.png", "is no regular file; remove it")


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "tif", "webp", "ppm"])
def test_any_damaged_image_is_read_or_named(tmp_path: Path, kind: str, tried: Tried) -> None:
    tried("damaged images", times(100, 2000))
    file = tmp_path / f"x.{kind}"
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.tile(COLOURS, (4, 4, 1))).save(
        file, **({"exif": exif} if kind in ("jpg", "png") else {})
    )
    content = file.read_bytes()
    generator = random.Random(kind)
    named = 0
    for _ in range(times(100, 2000)):
        damaged = bytearray(content)
        for _ in range(generator.randint(1, 3)):
            damaged[generator.randrange(min(len(content), 2000))] = generator.randrange(256)
        file.write_bytes(
            damaged[: generator.randrange(len(content))] if generator.random() < 0.2 else damaged
        )
        named += not _read_or_named(file)
    print(f"{times(100, 2000)} damaged {kind}: {named} named, the others read")
    assert named > 0


def _read_or_named(file: Path) -> bool:
    try:
        grey = is_grey(file)
        assert read_image(file, grey, 8).shape == (1 if grey else 3, 8, 8)
    except UserError as error:
        assert str(error).startswith(f"{file}: ")  # noqa: PT017 - both outcomes are right
        assert str(error).isprintable()  # noqa: PT017
        return False
    return True


def write_classes(folder: Path, names: tuple[str, ...] = ("apple", "pear")) -> Path:
    generator = np.random.default_rng(1)
    for name in names:
        (folder / name).mkdir(parents=True)
        for index in range(8):
            Image.fromarray(generator.integers(0, 256, (8, 8), dtype=np.uint8)).save(
                folder / name / f"{index}.png"
            )
    return folder


def load(folder: Path, make_config: Any) -> Any:
    return SOURCES["folder"](make_config(name="folder", path=str(folder)))


def test_links_within_the_folder_and_to_it_are_followed(tmp_path: Path, make_config: Any) -> None:
    folder = write_classes(tmp_path / "fruit")
    (folder / "pear/link.png").symlink_to(folder / "apple/0.png")
    (folder / "quince").symlink_to("apple", target_is_directory=True)
    (tmp_path / "entrance").symlink_to(folder)
    raw = load(tmp_path / "entrance", make_config)
    assert raw.class_names == ("apple", "pear", "quince")
    assert np.bincount(raw.train_labels).tolist() == [8, 9, 8]


@pytest.mark.parametrize("what", ["file", "class"])
def test_a_link_out_of_the_folder_is_refused(what: str, tmp_path: Path, make_config: Any) -> None:
    folder = write_classes(tmp_path / "fruit")
    private = write_classes(tmp_path / "private", ("photos",))
    link = folder / ("pear/link.png" if what == "file" else "quince")
    link.symlink_to(private / ("photos/0.png" if what == "file" else "photos"))
    with pytest.raises(
        UserError, match=rf"{link.name}: is a link that leads out of .*fruit; copy what it names"
    ):
        load(folder, make_config)


@pytest.mark.parametrize("target", ["missing.png", "link.png"])
def test_a_link_to_nowhere_or_to_itself_is_named(target: str, tmp_path: Path, make_config: Any) -> None:
    folder = write_classes(tmp_path / "fruit")
    (folder / "pear/link.png").symlink_to(target)
    with pytest.raises(UserError, match=r"link\.png: is a link that leads nowhere; remove or mend it"):
        load(folder, make_config)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31m", "x" * 120, os.fsdecode(b"\xff")])
def test_a_folder_that_cannot_name_a_class_is_refused(name: str, tmp_path: Path, make_config: Any) -> None:
    folder = write_classes(tmp_path / "fruit", ("apple", name))
    config = make_config(name="folder", path=str(folder))
    with pytest.raises(UserError, match=r"the class name .* is not allowed; allowed: printable") as caught:
        prepare(config, tmp_path / "out", tmp_path / "figure.png")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["$\\frac$", "<script>alert(1)<", "..a", "-rf", "a b", "$x$", "%s{}"])
def test_odd_names_of_classes_are_only_text(name: str, tmp_path: Path, make_config: Any) -> None:
    folder = write_classes(tmp_path / "fruit", ("apple", name))
    config = make_config(name="folder", path=str(folder))
    prepare(config, tmp_path / "out", tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.png", "fruit", "out"]
