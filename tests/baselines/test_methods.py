"""What every de-identifier promises, checked for all that are registered; then what each of ours does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from baselines.protocol import Deidentifier, ReversibleDeidentifier
from baselines.registry import METHODS, MethodConfig, load_method_config, make_method
from mema.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs" / "methods"
# MedSem-DeID has tests of its own in a folder of its own.
NAMES = [name for name in METHODS.names() if name != "medsem-deid"]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Two phantoms that have a face, and noise that has none, uint8 (3, 96, 80, 3): sides that differ."""
    from generation.phantom.population import draw_patient
    from generation.phantom.render import render

    cases = [draw_patient("tests", "eye_clinic", i, 5, photos=(1, 1)) for i in range(2)]
    faces = [render(case.subject, case.shots[0], case.finding, 96).image[:, 8:88] for case in cases]
    noise = np.random.default_rng(0).integers(0, 256, (96, 80, 3), dtype=np.uint8)
    return np.stack([*faces, noise])


def run(method: Deidentifier, images: np.ndarray, seed: int = 3) -> np.ndarray:
    keys = [f"key of {image.sum()}" for image in images]
    return method.deidentify(images, keys=keys, seed=seed)


@pytest.mark.parametrize("name", NAMES)
def test_keeps_the_contract(name: str, images: np.ndarray) -> None:
    method = make_method(load_method_config(CONFIGS / f"{name}.yaml"))
    before = images.copy()
    output = run(method, images)
    assert isinstance(method, ReversibleDeidentifier if method.reversible else Deidentifier)
    assert method.name == name
    assert output.shape == images.shape
    assert output.dtype == np.uint8
    assert np.array_equal(images, before), "the input was modified"
    assert not np.shares_memory(output, images)
    assert np.array_equal(output, run(method, images)), "two runs differ"
    one_by_one = np.concatenate([run(method, images[i : i + 1]) for i in range(len(images))])
    assert np.array_equal(output, one_by_one), "the batch matters"
    assert run(method, images[:0]).shape == images[:0].shape
    if isinstance(method, ReversibleDeidentifier) and method.reversible:
        keys = [f"key of {image.sum()}" for image in images]
        right = method.recover(output, keys)
        wrong = method.recover(output, [f"{key}." for key in keys])
        assert right.shape == images.shape
        assert right.dtype == np.uint8
        assert np.array_equal(right, method.recover(output, keys)), "two recoveries differ"
        errors = [np.abs(made.astype(float) - images).mean(axis=(1, 2, 3)) for made in (right, wrong)]
        assert (errors[0] < errors[1]).all(), "a wrong key opens as much as the right one"


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"command"}))
def test_the_yaml_states_the_defaults(name: str) -> None:
    method = make_method(load_method_config(CONFIGS / f"{name}.yaml"))
    assert method.parameters == method.parameters_model()


def test_strengths_are_in_order(images: np.ndarray) -> None:
    def error(name: str) -> float:
        made = run(make_method(load_method_config(CONFIGS / f"{name}.yaml")), images[:2])
        return float(np.abs(made.astype(float) - images[:2]).mean())

    assert error("gaussian_blur_weak") < error("gaussian_blur") < error("gaussian_blur_strong")
    assert error("pixelate_fine") < error("pixelate") < error("pixelate_coarse")
    assert error("eye_bar_narrow") < error("eye_bar") < error("eye_bar_wide")


def test_pass_through_and_blackout_are_the_two_ends(images: np.ndarray) -> None:
    assert np.array_equal(run(make_method(MethodConfig(method="pass_through")), images), images)
    red = make_method(MethodConfig(method="blackout", parameters={"colour": (255, 0, 0)}))
    assert (run(red, images) == [255, 0, 0]).all()


def test_blur_is_the_gaussian_of_scipy(images: np.ndarray) -> None:
    from scipy.ndimage import gaussian_filter

    method = make_method(MethodConfig(method="gaussian_blur", parameters={"sigma": 0.05}))
    sigma = 0.05 * 80
    expected = gaussian_filter(images[0].astype(float), (sigma, sigma, 0), mode="mirror", truncate=4.0)
    assert np.abs(run(method, images[:1])[0] - expected).max() <= 1.0


def test_pixels_of_a_tile_are_its_mean(images: np.ndarray) -> None:
    method = make_method(MethodConfig(method="pixelate", parameters={"blocks": 8}))
    output = run(method, images)
    tile = (slice(0, 12), slice(0, 10))
    assert (output[0][tile] == output[0, 0, 0]).all()
    assert np.abs(output[0, 0, 0] - images[0][tile].mean(axis=(0, 1))).max() <= 0.5
    assert np.array_equal(run(make_method(MethodConfig(method="pixelate", parameters={"blocks": 512})), images), images)


def test_eye_bar_covers_the_eyes_and_little_else(images: np.ndarray) -> None:
    from mema.faces.detector import landmarks

    output = run(make_method(MethodConfig(method="eye_bar")), images)
    points = landmarks(images[:1])[0]
    assert np.isfinite(points).all(), "the detector must find the phantom for this test to mean anything"
    for x, y in points[36:48].round().astype(int):
        assert (output[0, y, x] == 0).all()
    changed = (output[0] != images[0]).any(axis=2)
    assert 0.03 < changed.mean() < 0.25
    assert not changed[round(points[48:68, 1].min()) :].any(), "the mouth is covered"
    # The noise has no face: the fixed band.
    black = (output[2] == 0).all(axis=2).all(axis=1)
    assert list(np.flatnonzero(black)) == list(range(round(0.36 * 96), round(0.54 * 96)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"method": "pixellate"}, "did you mean 'pixelate'"),
        ({"method": "pixelate", "parameters": {"block": 4}}, "did you mean 'blocks'"),
        ({"method": "pixelate", "parameters": {"blocks": 0}}, "blocks"),
        ({"method": "gaussian_blur", "parameters": {"sigma": -1}}, "sigma"),
        ({"method": "command", "parameters": {"command": "cp {input}", "revision": "1"}}, "must name"),
        ({"method": "blackout", "parameters": {"colour": [0, 0, 256]}}, "colour"),
    ],
)
def test_mistakes_are_one_line(config: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        make_method(MethodConfig.model_validate(config))
    assert "\n" not in str(raised.value)


def test_a_broken_yaml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("method: blackout\nparametres: {}\n")
    with pytest.raises(UserError, match=r"mine\.yaml.*did you mean 'parameters'"):
        load_method_config(path)
