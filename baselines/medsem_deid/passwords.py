"""Passwords as the networks see them: a fixed random-looking vector of signs for each.

A vector is a hash of the password, so one bit more or less gives a vector that agrees in half of its places, as a
stranger's would: what a network does between two vectors helps nobody who guesses passwords.
"""

from __future__ import annotations

import hashlib

import numpy as np

DIMENSION = 512
"""Length of the vector P (MeMa, §4: P in R^512)."""

TURNED = (0.1, 0.5)
"""Fewest and most of a vector's places that are turned in a near one; two passwords' vectors differ in half of them."""

_DOMAIN = b"openmema medsem-deid password 1\0"


def password_vector(password: str | bytes | int) -> np.ndarray:
    """Return the vector of ``password``: -1 or 1, float32 (512,), the same on every machine.

    A text is read as UTF-8 and a number (not negative) as its decimal digits, so ``7``, ``"7"`` and ``b"7"`` are one.
    Raises ValueError for a negative number.
    """
    if isinstance(password, int):
        if password < 0:
            raise ValueError("a password cannot be a negative number")
        password = str(password)
    content = password.encode() if isinstance(password, str) else password
    digest = hashlib.shake_256(_DOMAIN + content).digest(DIMENSION // 8)
    bits = np.unpackbits(np.frombuffer(digest, dtype=np.uint8))
    return bits.astype(np.float32) * 2 - 1


def one_bit_away(password: bytes, bit: int) -> bytes:
    """Return ``password`` with one bit flipped; ``bit`` counts from the first byte's lowest."""
    changed = bytearray(password)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def wrong_vector(password: bytes, near: float, random: np.random.Generator) -> np.ndarray:
    """Return a vector that is not to open what ``password`` locked, float32 (512,).

    It is that of a password one bit away or, in a share of ``near`` of the draws, the right vector with a share of its
    places turned that is drawn from ``TURNED``: no password gives these, but they teach that every place matters.
    """
    if random.random() < near:
        turned = random.random(DIMENSION) < random.uniform(*TURNED)
        return np.where(turned, -1, 1).astype(np.float32) * password_vector(password)
    return password_vector(one_bit_away(password, int(random.integers(8 * len(password)))))
