"""The linear face code: what its axes are, and that a key turns identity, nothing else, and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from baselines.keys import rotation
from baselines.latent_code.code import FaceCode, fit_code, load_code, save_code
from baselines.latent_code.method import LatentCode, LatentCodeParameters
from baselines.photos import enlarged, flat_photos
from mema.errors import UserError


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray]:
    """400 photos of 8 px made of 6 hidden numbers, and what a recogniser says that reads two of them."""
    random = np.random.default_rng(0)
    hidden = random.normal(size=(400, 6)).astype(np.float32)
    mixing = random.normal(size=(6, 192)).astype(np.float32) * np.array([3, 1, 4, 2, 1, 5])[:, None] / 100
    vectors = np.tanh(0.3 * hidden[:, [1, 3]]) @ random.normal(size=(2, 5)).astype(np.float32)
    return 0.5 + hidden @ mixing, vectors + 0.01 * random.normal(size=vectors.shape).astype(np.float32)


@pytest.fixture(scope="module")
def code(world: tuple[np.ndarray, np.ndarray]) -> FaceCode:
    return fit_code(*world, components=6)


def test_the_code_is_white_and_gives_the_photo_back(code: FaceCode, world: tuple[np.ndarray, np.ndarray]) -> None:
    photos, _ = world
    codes = code.encode(photos)
    assert codes.T @ codes / len(codes) == pytest.approx(np.eye(6), abs=1e-3)
    assert code.mean + codes @ code.axes == pytest.approx(photos, abs=1e-4)
    assert code.side == 8


def test_a_photo_is_drawn_within_range_and_keeps_its_code(code: FaceCode) -> None:
    wanted = np.array([3, -3, 3, 2, -3, 3], np.float32)
    plain = code.mean + wanted @ code.axes
    assert (np.abs(plain - 0.5) > 0.5).mean() > 0.01, "it must leave the range for this test to mean anything"
    drawn = code.decode(wanted)
    assert code.encode(drawn) == pytest.approx(wanted, abs=1e-3)
    assert np.abs(drawn - 0.5).max() < 0.52
    assert np.abs(code.encode(plain.clip(0, 1)) - wanted).max() > 0.02


def test_identity_comes_first(code: FaceCode, world: tuple[np.ndarray, np.ndarray]) -> None:
    photos, vectors = world
    assert code.correlations[:2] == pytest.approx([1, 1], abs=0.05)
    assert (code.correlations[2:] < 0.25).all()
    codes = code.encode(photos)
    told = np.abs(np.corrcoef(np.c_[codes, vectors].T)[:6, 6:]).max(axis=1)
    assert told[:2].min() > 0.4 > 0.25 > told[2:].max()


def test_a_code_is_saved_in_eight_bits(code: FaceCode, tmp_path: Path) -> None:
    save_code(code, tmp_path / "code.safetensors", "tests")
    read = load_code(tmp_path / "code.safetensors")
    assert np.abs(read.axes - code.axes).max() <= np.abs(code.axes).max() / 127
    assert read.back @ read.axes.T == pytest.approx(np.eye(6), abs=1e-4)


def test_an_enlarged_photo_is_reduced_to_what_it_was() -> None:
    from mema.classifier import as_tensor

    photo = as_tensor(np.random.default_rng(0).integers(60, 200, (1, 16, 16, 3), dtype=np.uint8))[0].numpy()
    # Smooth, as what the networks draw is; of noise the finest part would be lost.
    smooth = (photo + np.roll(photo, 1, 1) + np.roll(photo, 1, 2) + np.roll(photo, (1, 1), (1, 2))) / 4
    large = enlarged(smooth, 40, 56)
    again = flat_photos((large * 255).round().clip(0, 255).astype(np.uint8)[None], 16)[0].reshape(3, 16, 16)
    assert np.abs(again - smooth).mean() < 0.01
    assert enlarged(2 * smooth, 40, 56) == pytest.approx(2 * large, abs=1e-5)


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    """Donors of the shipped gallery, uint8 (3, 96, 96, 3)."""
    from baselines.k_same.gallery import load_gallery
    from mema.weights import locate

    return load_gallery(locate("phantom-gallery")).faces[:3]


def test_the_key_turns_identity_alone_and_back(photos: np.ndarray) -> None:
    method = LatentCode(LatentCodeParameters(identity=24, detail=1.0))
    keys = ["one", "two", "three"]
    hidden = method.deidentify(photos, keys=keys, seed=0)

    def codes(images: np.ndarray) -> np.ndarray:
        return method.code.encode(flat_photos(images, method.code.side))

    before, after = codes(photos), codes(hidden)
    inside = ((hidden == 0) | (hidden == 255)).mean(axis=(1, 2, 3)) < 0.01
    assert inside.any(), "one photo must not be clipped for this test to mean anything"
    assert np.abs(after - before)[inside, 24:].max() < 0.35
    assert np.linalg.norm((after - before)[inside, :24], axis=1).min() > 3
    opened = method.recover(hidden, keys)
    assert np.abs(opened.astype(float) - photos)[inside].mean() < 2
    # A key that differs in its last letter opens nothing.
    assert np.abs(method.recover(hidden, [f"{key}x" for key in keys]).astype(float) - photos).mean() > 10


def test_the_same_key_turns_as_far_as_any() -> None:
    turn = rotation("a", 40)
    assert turn @ turn.T == pytest.approx(np.eye(40), abs=1e-9)
    assert np.abs(turn - rotation("b", 40)).max() > 0.3
    assert np.array_equal(turn, rotation("a", 40))


def test_without_keys_nobody_holds_one(photos: np.ndarray) -> None:
    method = LatentCode(LatentCodeParameters())
    first = method.deidentify(photos, keys=None, seed=0)
    assert np.array_equal(first, method.deidentify(photos, keys=None, seed=0))
    assert not np.array_equal(first, method.deidentify(photos, keys=None, seed=1))


def test_mistakes_are_one_line(world: tuple[np.ndarray, np.ndarray], photos: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least 12 photos, not 10"):
        fit_code(world[0][:10], world[1][:10], 6)
    with pytest.raises(UserError, match="identity is 65, a code has 64"):
        LatentCode(LatentCodeParameters(identity=65))
    with pytest.raises(UserError, match="1 keys were given for 3 images"):
        LatentCode(LatentCodeParameters()).deidentify(photos, keys=["a"], seed=0)
    (tmp_path / "code.safetensors").write_bytes(b"no such thing")
    with pytest.raises(UserError, match=r"code\.safetensors: not a face code"):
        load_code(tmp_path / "code.safetensors")
