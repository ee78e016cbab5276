"""Read a photo as it comes from a clinic: any orientation, colour mode and bit depth, bounded in size."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mema.errors import UserError

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
MIN_SIDE = 32
MAX_SIDE = 10_000
MAX_PIXELS = 50_000_000


def load_photo(path: Path | str, *, size: int | None = None) -> np.ndarray:
    """Return a photo as uint8 (H, W, 3) sRGB; with ``size``, its central square resampled to that side.

    EXIF orientation is applied; grey, palette, CMYK, 16-bit and transparent (on white) images become 8-bit RGB.
    The size is checked before anything is decoded. Raises UserError whose message names no path, since photos
    of patients must not be named in a log: the caller adds the row.
    """
    try:
        with warnings.catch_warnings():
            # Pillow's warning about large images is replaced by the bound below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                _check_size(*image.size)
                image.load()
                rgb = _to_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise UserError("the photo is missing") from None
    except Image.DecompressionBombError:
        raise UserError(f"the photo has more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise UserError(f"the file is not an image ({', '.join(FORMATS)} are read)") from None
    except IsADirectoryError:
        raise UserError("the photo is a folder") from None
    except PermissionError:
        raise UserError("the photo may not be read") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise UserError(f"the photo is truncated or damaged ({type(error).__name__})") from None
    if size is not None:
        rgb = ImageOps.fit(rgb, (size, size), method=Image.Resampling.LANCZOS)
    return np.asarray(rgb)


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise UserError(f"the photo is {width}x{height}: each side needs at least {MIN_SIDE} pixels")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise UserError(f"the photo is {width}x{height}: at most {MAX_SIDE:,} a side and {MAX_PIXELS:,} pixels in all")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow clips 16-bit greys on conversion instead of scaling them.
        return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise UserError("the photo holds floating-point values, not colours")
    if "A" in image.mode or "transparency" in image.info:
        alpha = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", alpha.size, "white"), alpha).convert("RGB")
    return image.convert("RGB")
