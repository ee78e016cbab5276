"""medsem-turn: the code never reads the eyes, the key turns all of it and back, and the eyes say what they said."""

from __future__ import annotations

import numpy as np
import pytest

from baselines.keys import rotation
from baselines.latent_code.code import FaceCode
from baselines.medsem_turn.code import fit_blind_code
from baselines.medsem_turn.method import MedSemTurn, MedSemTurnParameters, logit, sigmoid
from baselines.medsem_turn.region import medical_region, outside
from baselines.medsem_turn.seal import seal, unseal
from baselines.photos import flat_photos
from mema.errors import UserError

DISEASES = ("conjunctivitis", "ptosis", "scc", "strabismus", "tao", "bcc")
KEYS = [f"{number:064x}" for number in range(len(DISEASES))]
NEAR_KEYS = [f"{key[:-1]}{int(key[-1], 16) ^ 1:x}" for key in KEYS]


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    """A patient of each of ``DISEASES`` by the clinic's protocol, uint8 (6, 128, 128, 3)."""
    from generation.phantom.population import draw_patient
    from generation.phantom.render import render

    cases = [
        draw_patient("tests", "eye_clinic", i, 9, disease=code, severity=0.8, photos=(1, 1), photography="clinical")
        for i, code in enumerate(DISEASES)
    ]
    return np.stack([render(case.subject, case.shots[0], case.finding, 128).image for case in cases])


@pytest.fixture(scope="module")
def method() -> MedSemTurn:
    """The code alone, so that it has to say by itself what a key opens."""
    return MedSemTurn(MedSemTurnParameters(seal=False))


@pytest.fixture(scope="module")
def sealing() -> MedSemTurn:
    return MedSemTurn(MedSemTurnParameters())


@pytest.fixture(scope="module")
def hidden(method: MedSemTurn, photos: np.ndarray) -> np.ndarray:
    return method.deidentify(photos, keys=KEYS, seed=0)


def psnr(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return -10 * np.log10(np.square((one.astype(float) - other) / 255).mean(axis=(1, 2, 3)))


def repainted(photos: np.ndarray) -> np.ndarray:
    """The photos with noise wherever the region lets anything through."""
    noise = np.random.default_rng(0).integers(0, 256, photos.shape, dtype=np.uint8)
    return np.where(medical_region(*photos.shape[1:3])[..., None] > 0, noise, photos)


def test_the_region_holds_both_eyes_of_a_clinics_photo() -> None:
    from generation.phantom.population import draw_patient
    from generation.phantom.render import render

    region = medical_region(96, 96)
    assert region == pytest.approx(region[:, ::-1], abs=1e-6)
    assert 0.05 < region.mean() < 0.15
    for number in range(6):
        case = draw_patient("tests", "eye_clinic", number, 9, photos=(1, 1), photography="clinical")
        points = render(case.subject, case.shots[0], case.finding, 96).landmarks.round().astype(int)
        assert region[points[36:48, 1], points[36:48, 0]].min() == 1
        assert region[points[48:68, 1], points[48:68, 0]].max() == 0


def test_a_reduced_photo_is_the_same_outside_whatever_the_eyes_are(photos: np.ndarray) -> None:
    before, after = flat_photos(photos[:1], 48), flat_photos(repainted(photos[:1]), 48)
    assert np.array_equal(before[:, outside(48)], after[:, outside(48)])
    assert np.abs(before - after)[:, ~outside(48)].max() > 0.1


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, np.ndarray]:
    """300 photos of 16 px made of 5 hidden numbers, and the code of 5 numbers for them."""
    random = np.random.default_rng(0)
    hidden = random.normal(size=(300, 5)).astype(np.float32)
    return hidden, 0.5 + hidden @ (random.normal(size=(5, 3 * 16 * 16)) / 20).astype(np.float32)


def test_the_code_foretells_eyes_that_it_does_not_read(world: tuple[np.ndarray, np.ndarray]) -> None:
    _, photos = world
    code: FaceCode = fit_blind_code(photos, 5)
    codes = code.encode(photos)
    assert codes.T @ codes / len(codes) == pytest.approx(np.eye(5), abs=1e-2)
    assert code.mean + codes @ code.axes == pytest.approx(photos, abs=1e-2)
    other_eyes = np.where(outside(16), photos, 0.9)
    assert np.abs(other_eyes - photos).max() > 0.2
    assert code.encode(other_eyes) == pytest.approx(codes, abs=1e-4)


def test_what_is_beside_the_eyes_does_not_depend_on_them(
    method: MedSemTurn, photos: np.ndarray, hidden: np.ndarray
) -> None:
    other = method.deidentify(repainted(photos), keys=KEYS, seed=0)
    beside = medical_region(128, 128) == 0
    assert np.array_equal(other[:, beside], hidden[:, beside])
    assert not np.array_equal(other, hidden)


def test_the_key_turns_the_whole_code(method: MedSemTurn, photos: np.ndarray, hidden: np.ndarray) -> None:
    before, after = (method.code.encode(flat_photos(images, method.code.side)) for images in (photos, hidden))
    turned = np.stack([rotation(key, len(code)) @ code for key, code in zip(KEYS, before, strict=True)])
    # Eight bits and what lies outside of them cost some hundredths of a standard deviation.
    assert np.abs(after - method.parameters.spread * turned).mean() < 0.1
    cosines = (before * after).sum(1) / np.linalg.norm(before, axis=1) / np.linalg.norm(after, axis=1)
    assert np.abs(cosines).max() < 4 / before.shape[1] ** 0.5


def test_the_right_key_gives_the_person_back_and_a_near_one_a_stranger(
    method: MedSemTurn, photos: np.ndarray, hidden: np.ndarray
) -> None:
    from mema.faces.recognisers import recogniser

    instrument = recogniser("phantom-sphereface")
    right, near = method.recover(hidden, KEYS), method.recover(hidden, NEAR_KEYS)
    assert psnr(right, photos).mean() > 25
    assert psnr(near, photos).mean() < 20
    own, opened, wrong, shown = (instrument.embed(images).vectors for images in (photos, right, near, hidden))
    strangers = np.linalg.norm(own[:, None] - own, axis=2)[~np.eye(len(own), dtype=bool)]
    assert np.linalg.norm(own - opened, axis=1).max() < strangers.min()
    assert np.linalg.norm(own - wrong, axis=1).mean() > strangers.mean() - 0.2
    assert np.linalg.norm(own - shown, axis=1).mean() > strangers.mean() - 0.2


def test_the_key_opens_the_sealed_photo_and_a_near_one_a_stranger(
    sealing: MedSemTurn, method: MedSemTurn, photos: np.ndarray, hidden: np.ndarray
) -> None:
    sealed = sealing.deidentify(photos, keys=KEYS, seed=0)
    assert np.array_equal(sealed >> 1, hidden >> 1)
    assert psnr(sealing.recover(sealed, KEYS), photos).min() > 38
    near = sealing.recover(sealed, NEAR_KEYS)
    assert np.array_equal(near, method.recover(sealed, NEAR_KEYS))
    assert psnr(near, photos).mean() < 20


def test_a_broken_seal_leaves_what_the_code_says(sealing: MedSemTurn, method: MedSemTurn, photos: np.ndarray) -> None:
    sealed = sealing.deidentify(photos, keys=KEYS, seed=0)
    sealed[:, 0, 0, 0] ^= 1
    opened = sealing.recover(sealed, KEYS)
    assert np.array_equal(opened, method.recover(sealed, KEYS))
    assert psnr(opened, photos).mean() > 25


def test_a_seal_is_noise_and_the_same_each_time(photos: np.ndarray) -> None:
    grey = np.full_like(photos[0], 128)
    sealed = seal(grey, photos[0], "secret")
    assert np.array_equal(sealed, seal(grey, photos[0], "secret"))
    assert (sealed & 1).mean() == pytest.approx(0.5, abs=0.01)
    others = [seal(grey, photos[0], "another secret"), seal(grey, photos[1], "secret")]
    assert all(np.mean((other ^ sealed) & 1) == pytest.approx(0.5, abs=0.02) for other in others)
    assert unseal(sealed, "another secret") is None
    assert unseal(grey, "secret") is None


def test_an_image_with_no_room_is_left_as_it_is(photos: np.ndarray) -> None:
    small = photos[0, ::8, ::8]
    assert np.array_equal(seal(small, small, "secret"), small)
    assert unseal(small, "secret") is None
    assert unseal(photos[0, :2, :2], "secret") is None


def test_the_judge_reads_what_it_read(photos: np.ndarray, hidden: np.ndarray) -> None:
    from mema.classifier import load, predict
    from mema.weights import locate

    judge = load(locate("phantom-judge/eye_clinic"))
    read = [tuple(judge.classes[row] for row in predict(judge, images).argmax(1)) for images in (photos, hidden)]
    assert read[0] == DISEASES
    assert sum(one == other for one, other in zip(*read, strict=True)) >= len(DISEASES) - 1


def test_the_eyes_take_the_new_faces_colours(method: MedSemTurn, photos: np.ndarray, hidden: np.ndarray) -> None:
    region = medical_region(128, 128) == 1
    codes = method.code.encode(flat_photos(hidden, 48))
    drawn = (method.code.mean + codes @ method.code.axes).reshape(-1, 3, 48, 48)
    skin = drawn[:, :, medical_region(48, 48) == 1].mean(axis=2)
    errors = [np.abs(images[:, region].mean(axis=1) / 255 - skin).mean() for images in (hidden, photos)]
    assert errors[0] < 0.5 * errors[1]


def test_colours_move_within_the_range() -> None:
    values = np.linspace(0, 1, 256)
    assert sigmoid(logit(values)) == pytest.approx(values, abs=1 / 500)
    assert 0 < sigmoid(logit(values) + 3).min() < sigmoid(logit(values) + 3).max() < 1


def test_without_keys_nobody_holds_one(method: MedSemTurn, photos: np.ndarray) -> None:
    first = method.deidentify(photos[:1], keys=None, seed=0)
    assert np.array_equal(first, method.deidentify(photos[:1], keys=None, seed=0))
    assert not np.array_equal(first, method.deidentify(photos[:1], keys=None, seed=1))


def test_mistakes_are_one_line(world: tuple[np.ndarray, np.ndarray], photos: np.ndarray, method: MedSemTurn) -> None:
    with pytest.raises(UserError, match="of 200 numbers needs at least 400 photos, not 300"):
        fit_blind_code(world[1], 200)
    with pytest.raises(UserError, match="1 keys were given for 6 images"):
        method.deidentify(photos, keys=["a"], seed=0)
