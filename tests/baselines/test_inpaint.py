"""Inpainting through diffusers' pipeline, on tiny random checkpoints of four, six and nine channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from baselines.inpaint import Inpaint, InpaintParameters, surroundings
from mema.errors import UserError


@pytest.fixture(scope="module")
def photo(patients: np.ndarray) -> np.ndarray:
    """A phantom at 96 x 80 px, in which the detector sees a face: uint8 (96, 80, 3)."""
    return np.array(Image.fromarray(patients[0]).resize((96, 96)))[:, 8:88]


def method(folder: Path, **parameters: Any) -> Inpaint:
    return Inpaint(InpaintParameters(checkpoint=str(folder), prompt="a", steps=2, **parameters))


def test_the_face_is_drawn_anew_and_the_rest_is_left(tiny_generator: Path, photo: np.ndarray) -> None:
    from mema.faces.detector import landmarks

    points = landmarks(photo[None])[0]
    assert np.isfinite(points).all(), "the detector must find the phantom for this test to mean anything"
    inpaint = method(tiny_generator / "sd")
    output = inpaint.deidentify(photo[None], keys=None, seed=0)[0]
    mask = inpaint.mask(points, *photo.shape[:2])
    assert np.array_equal(output[~mask], photo[~mask])
    assert np.abs(output[mask].astype(float) - photo[mask]).mean() > 10
    assert not np.array_equal(output, inpaint.deidentify(photo[None], keys=None, seed=1)[0])

    keeping = method(tiny_generator / "sd", keep_eyes=True)
    kept = keeping.deidentify(photo[None], keys=None, seed=0)[0]
    eyes = mask & ~keeping.mask(points, *photo.shape[:2])
    assert 0.01 < eyes.mean() < 0.2
    for x, y in points[36:48].round().astype(int):
        assert np.array_equal(kept[y, x], photo[y, x])


def test_nothing_inside_the_mask_is_read(tiny_generator: Path, photo: np.ndarray) -> None:
    mask = np.zeros(photo.shape[:2], bool)
    mask[30:70, 20:60] = True
    other = np.where(mask[..., None], 255 - photo, photo)
    assert np.array_equal(surroundings(photo, mask), surroundings(other, mask))
    inpaint = method(tiny_generator / "sd")
    assert np.array_equal(inpaint._draw(photo, mask, 0), inpaint._draw(other, mask, 0))
    assert not np.array_equal(inpaint._draw(photo, mask, 0), inpaint._draw(255 - photo, mask, 0))


@pytest.mark.parametrize(("latents", "channels"), [(6, 6), (4, 9)])
def test_more_channels(latents: int, channels: int, tiny_generator: Path, tmp_path: Path, photo: np.ndarray) -> None:
    """Latents of any number of channels, and a UNet that was made for inpainting."""
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel

    plain = StableDiffusionPipeline.from_pretrained(tiny_generator / "sd", local_files_only=True, safety_checker=None)
    plain.register_modules(
        unet=UNet2DConditionModel.from_config({**plain.unet.config, "in_channels": channels, "out_channels": latents}),
        vae=AutoencoderKL.from_config({**plain.vae.config, "latent_channels": latents}),
    )
    plain.save_pretrained(tmp_path / "sd")
    output = method(tmp_path / "sd").deidentify(photo[None], keys=None, seed=0)
    assert output.shape == (1, *photo.shape)
    assert (output != photo).any()


def test_a_missing_checkpoint_is_said_when_the_method_is_made() -> None:
    with pytest.raises(UserError, match="weights 'sd-v1-5' are missing"):
        Inpaint(InpaintParameters(checkpoint="sd-v1-5"))
