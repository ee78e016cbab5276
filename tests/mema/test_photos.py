import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mema.errors import UserError
from mema.photos import load_photo


def gradient(width: int = 80, height: int = 60) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8))


def test_rgb_is_read_as_it_is(tmp_path):
    gradient().save(tmp_path / "a.png")
    assert np.array_equal(load_photo(tmp_path / "a.png"), np.asarray(gradient()))
    assert load_photo(tmp_path / "a.png", size=48).shape == (48, 48, 3)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    gradient().transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(load_photo(tmp_path / "a.png"), np.asarray(gradient()))


def test_cmyk_becomes_rgb(tmp_path):
    gradient().convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    read = load_photo(tmp_path / "a.jpg").astype(int)
    assert np.abs(read - np.asarray(gradient()).astype(int)).mean() < 6


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))
    Image.fromarray(ramp).save(tmp_path / "a.png")
    read = load_photo(tmp_path / "a.png")
    assert np.array_equal(read[0, :, 0], (ramp[0] / 257).round().astype(np.uint8))


def test_grey_and_transparent_images(tmp_path):
    gradient().convert("L").save(tmp_path / "grey.png")
    grey = load_photo(tmp_path / "grey.png")
    assert grey.shape == (60, 80, 3) and np.array_equal(grey[..., 0], grey[..., 2])
    clear = gradient().convert("RGBA")
    clear.putalpha(0)
    clear.save(tmp_path / "clear.png")
    assert (load_photo(tmp_path / "clear.png") == 255).all()


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels, as a decompression bomb would."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tiny.png", None, "1x1"),
        ("huge.png", png_of_size(20_000, 20_000), "50,000,000"),
        ("long.png", png_of_size(12_000, 100), "12000x100"),
        ("text.jpg", b"patient notes, not a photo", "not an image"),
        ("empty.jpg", b"", "not an image"),
    ],
    ids=["tiny", "huge", "long", "text", "empty"],
)
def test_bad_files_get_one_line_without_a_path(tmp_path, name, content, message):
    if content is None:
        Image.new("RGB", (1, 1)).save(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        load_photo(tmp_path / name)
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_truncated_jpeg(tmp_path):
    buffer = io.BytesIO()
    gradient(400, 300).save(buffer, format="JPEG")
    (tmp_path / "cut.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(UserError, match="truncated"):
        load_photo(tmp_path / "cut.jpg")


def test_missing_photo(tmp_path):
    with pytest.raises(UserError, match="missing"):
        load_photo(tmp_path / "none.jpg")
