"""A photo sealed in the lowest bits of an image: who holds the key reads it there, to anybody else the bits are noise.

Nobody sees the lowest bits, and nothing but a file without loss keeps them: an image that was scaled or saved as JPEG
has lost its seal. AES-SIV (RFC 5297) needs no number used once, so the same photo and key give the same bits, and a
wrong key is known to be wrong.
"""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

import numpy as np

from mema.errors import UserError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

LABEL = b"openmema medsem-turn seal 1:"
"""Tells these keys from the rotation that the same secret draws."""

LENGTH_BYTES = 4
TAG_BYTES = 16

LEAST_QUALITY = 50
"""Of a JPEG that is worth more than what the code says."""


def seal(image: np.ndarray, photo: np.ndarray, secret: str) -> np.ndarray:
    """Return ``image`` with ``photo`` in its lowest bits, both uint8 (H, W, 3).

    The photo is the best JPEG that there is room for. An image too small for a good one comes back as it is.
    """
    room = image.size // 8 - TAG_BYTES
    packed = _packed(photo, room - LENGTH_BYTES)
    if packed is None:
        return image
    content = (len(packed).to_bytes(LENGTH_BYTES) + packed).ljust(room, b"\0")
    bits = np.unpackbits(np.frombuffer(_cipher(secret).encrypt(content, None), np.uint8))
    sealed = image.ravel() & 0xFE
    sealed[: len(bits)] |= bits
    return sealed.reshape(image.shape)


def unseal(image: np.ndarray, secret: str) -> np.ndarray | None:
    """Return the photo, uint8 (H, W, 3), that ``secret`` opens in ``image``; None where it opens nothing."""
    cipher = _cipher(secret)
    from cryptography.exceptions import InvalidTag
    from PIL import Image

    bits = np.packbits(image.ravel()[: image.size // 8 * 8] & 1).tobytes()
    try:
        content = cipher.decrypt(bits, None)
    except (InvalidTag, ValueError):
        return None
    length = int.from_bytes(content[:LENGTH_BYTES])
    with Image.open(io.BytesIO(content[LENGTH_BYTES : LENGTH_BYTES + length])) as photo:
        return np.asarray(photo.convert("RGB"))


def _packed(photo: np.ndarray, room: int) -> bytes | None:
    """Return the best JPEG of ``photo`` in ``room`` bytes, None if there is no good one."""
    from PIL import Image

    picture, best = Image.fromarray(photo), None
    low, high = LEAST_QUALITY, 100
    while low <= high:
        quality = (low + high) // 2
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=quality, subsampling=0, optimize=True)
        if stream.tell() <= room:
            best, low = stream.getvalue(), quality + 1
        else:
            high = quality - 1
    return best


def _cipher(secret: str) -> AESSIV:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV
    except ImportError:
        raise UserError("cryptography is not installed: pip install 'openmema[keyed]'") from None
    return AESSIV(hashlib.sha512(LABEL + secret.encode()).digest())
