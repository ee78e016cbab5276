"""Masks in Label Studio's run-length code: RGBA values whose alpha is the mask."""

from __future__ import annotations

from typing import Any

import numpy as np

# A value that differs from both its neighbours takes 14 bits, a pixel has four: more than this cannot be a mask.
BYTES_PER_PIXEL = 7
HEADER = 64


def encode(mask: np.ndarray) -> list[int]:
    """Return the code of a mask, bool (H, W), as a list of bytes."""
    from label_studio_sdk.converter.brush import encode_rle

    return encode_rle(np.repeat(mask.astype(np.uint8).ravel() * 255, 4))


def decode(code: Any, height: int, width: int) -> np.ndarray:
    """Return the mask, bool (H, W), of a code that may come from anyone; ValueError says what is wrong with it.

    What the browser paints is anti-aliased: a pixel belongs to the mask when it is covered by more than half.
    """
    from label_studio_sdk.converter.brush import decode_rle

    if not isinstance(code, list) or not 7 <= len(code) <= BYTES_PER_PIXEL * height * width + HEADER:
        raise ValueError(f"the mask's code is not a list of at most {BYTES_PER_PIXEL} bytes a pixel")
    if not all(type(value) is int and 0 <= value <= 255 for value in code):
        raise ValueError("the mask's code holds what is not a byte")
    # The decoder allocates what the header announces and believes the word size.
    values = int.from_bytes(bytes(code[:4]), "big")
    if values != 4 * height * width or code[4] >> 3 != 7:
        raise ValueError(f"the mask is not of {width} x {height} pixels")
    try:
        pixels = decode_rle(code)
    except (ValueError, IndexError):
        raise ValueError("the mask's code ends too soon or runs over its end") from None
    return pixels.reshape(height, width, 4)[:, :, 3] > 127
