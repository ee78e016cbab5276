"""Passwords: one vector for each, everywhere the same, and none near another's."""

import numpy as np
import pytest

from baselines.medsem_deid.passwords import DIMENSION, one_bit_away, password_vector, wrong_vector


def test_a_vector_is_fixed_for_good():
    vector = password_vector("open sesame")
    assert vector.shape == (DIMENSION,) and vector.dtype == np.float32 and set(vector) == {-1.0, 1.0}
    # What was locked years ago must still open: these bits may never change.
    assert np.packbits(vector[:64] > 0).tobytes().hex() == "29e6ae8c8692e839"


def test_text_bytes_and_numbers_are_one_password():
    assert np.array_equal(password_vector(70), password_vector("70"))
    assert np.array_equal(password_vector("70"), password_vector(b"70"))
    with pytest.raises(ValueError, match="negative"):
        password_vector(-1)


def test_one_bit_makes_a_stranger():
    password = b"a fairly long password"
    shares = [
        float(np.mean(password_vector(password) != password_vector(one_bit_away(password, bit))))
        for bit in range(8 * len(password))
    ]
    assert all(one_bit_away(password, bit) != password for bit in range(8))
    # 176 draws of 512 fair coins: five standard deviations are 0.11.
    assert min(shares) > 0.39 and max(shares) < 0.61


def test_wrong_vectors_are_near_or_strangers():
    random = np.random.default_rng(0)
    right = password_vector(b"0123456789abcdef")
    near = [np.mean(wrong_vector(b"0123456789abcdef", 1.0, random) != right) for _ in range(200)]
    assert 0.05 < min(near) < 0.15 and 0.4 < max(near) < 0.6
    strangers = [np.mean(wrong_vector(b"0123456789abcdef", 0.0, random) != right) for _ in range(50)]
    assert min(strangers) > 0.39
