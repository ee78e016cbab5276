"""Masks in Label Studio's run-length code: RGBA values whose alpha is the mask.

The format is that of the package rle-pack, which the browser uses. Label Studio's own Python decoder believes what the
code announces about its size, and its encoder's time grows with the square of the length.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# A value that differs from its neighbours takes 14 bits and a pixel has four: more than this cannot be a mask.
BYTES_PER_PIXEL = 7
HEADER_BYTES = 64
RUN_BITS = (3, 4, 8, 16)
LONGEST_RUN = 1 << RUN_BITS[-1]


def encode(mask: np.ndarray) -> list[int]:
    """Return the code of a mask, bool (H, W), as a list of bytes."""
    pixels = mask.ravel()
    starts = np.flatnonzero(np.diff(pixels, prepend=~pixels[:1]))
    lengths = 4 * np.diff(starts, append=pixels.size)
    bits = [f"{4 * pixels.size:032b}{7:05b}", *(f"{size - 1:04b}" for size in RUN_BITS)]
    for length, painted in zip(lengths.tolist(), pixels[starts].tolist(), strict=True):
        for done in range(0, length, LONGEST_RUN):
            part = min(length - done, LONGEST_RUN)
            index = next(index for index, size in enumerate(RUN_BITS) if part <= 1 << size)
            bits.append(f"1{index:02b}{part - 1:0{RUN_BITS[index]}b}{255 * painted:08b}")
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def decode(code: Any, height: int, width: int) -> np.ndarray:
    """Return the mask, bool (H, W), of a code that may come from anyone; ValueError says what is wrong with it.

    What the browser paints is anti-aliased: a pixel belongs to the mask when it is covered by more than half.
    """
    if not isinstance(code, list) or len(code) > BYTES_PER_PIXEL * height * width + HEADER_BYTES:
        raise ValueError(f"the mask is not a list of at most {BYTES_PER_PIXEL} bytes a pixel")
    if not all(type(value) is int and 0 <= value <= 255 for value in code):
        raise ValueError("the mask's code holds what is not a byte")
    bits = _Bits(bytes(code))
    total = bits.read(32)
    if total != 4 * height * width or bits.read(5) != 7:
        raise ValueError(f"the mask is not of {width} x {height} pixels")
    run_bits = [bits.read(4) + 1 for _ in range(4)]
    values = np.zeros(total, np.uint8)
    start = 0
    while start < total:
        repeated = bits.read(1)
        stop = start + 1 + bits.read(run_bits[bits.read(2)])
        if stop > total:
            raise ValueError("the mask's code runs over its end")
        values[start:stop] = bits.read(8) if repeated else bits.read_bytes(stop - start)
        start = stop
    return values.reshape(height, width, 4)[:, :, 3] > 127


class _Bits:
    """Reads big-endian numbers from bytes, bit by bit; ValueError at the end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def read(self, count: int) -> int:
        stop = self.at + count
        if stop > 8 * len(self.data):
            raise ValueError("the mask's code ends too soon")
        last = (stop + 7) // 8
        number = int.from_bytes(self.data[self.at // 8 : last], "big") >> (8 * last - stop)
        self.at = stop
        return number & ((1 << count) - 1)

    def read_bytes(self, count: int) -> np.ndarray:
        return np.frombuffer(self.read(8 * count).to_bytes(count, "big"), np.uint8)
