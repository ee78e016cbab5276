"""Mask and inpaint: the face is cut out and a diffusion model draws another in its place.

Through diffusers' inpainting pipeline: with a plain text-to-image UNet it keeps the surroundings by mixing the photo's
own latents in at every step (Lugmayr et al., RePaint, CVPR 2022, without its resampling); a UNet trained for inpainting
(nine channels) is given them as input. Nothing inside the mask is read but where the landmarks are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field

from baselines.face_region import eyes_mask, face_mask, feathered
from mema.config import Config
from mema.diffusion.checkpoint import Generator, Precision, generator_digest, load_pipeline
from mema.diffusion.sampling import SchedulerName, make_solver

FEATHER = 0.02
"""Over how much of the photo's shorter side what was drawn fades into it."""


class InpaintParameters(Config):
    """``checkpoint`` (and ``tuned``, what fine-tuning wrote) are names of weights or folders in diffusers format.

    ``prompt`` is the same for every photo, since labels are not known. ``keep_eyes`` leaves both eyes with their lids
    as they are, each ``eye_margin`` larger than its outline: the signs of eye diseases stay, and so do the eyes of the
    patient. ``steps``, ``guidance``, ``scheduler`` and ``precision`` are as in the build's ``sample`` section.
    """

    checkpoint: str = "phantom-sd"
    tuned: str | None = None
    prompt: str = "A face"
    keep_eyes: bool = False
    eye_margin: float = Field(default=0.6, ge=0, le=2)
    steps: int = Field(default=8, ge=1)
    guidance: float = Field(default=1.0, ge=1)
    scheduler: SchedulerName = "dpm"
    precision: Precision = "no"


class Inpaint:
    """Draws the face anew inside the hull of its landmarks and forehead; the rest of the photo is untouched."""

    name = "inpaint"
    reversible = False
    prior = "Landmark + diffusion"
    parameters_model = InpaintParameters

    def __init__(self, parameters: InpaintParameters) -> None:
        self.parameters = parameters
        self._generator = Generator(parameters.checkpoint, parameters.tuned)
        self.revision = f"1.{generator_digest(self._generator)[:8]}"

    @property
    def parameter_count(self) -> int:
        """Return how many numbers the checkpoint's networks have learnt."""
        networks = (self._pipe.unet, self._pipe.vae, self._pipe.text_encoder)
        return sum(parameter.numel() for network in networks for parameter in network.parameters())

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> np.ndarray:
        """Return ``images`` with other faces, uint8 (N, H, W, 3)."""
        from mema.faces.detector import placed_landmarks

        output = images.copy()
        for photo, points in zip(output, placed_landmarks(images)[0], strict=True):
            mask = self.mask(points, *photo.shape[:2])
            if not mask.any():
                continue
            drawn = self._draw(photo, mask, seed).astype(np.float32)
            share = feathered(mask, FEATHER * min(mask.shape))[..., None]
            photo[:] = np.rint(photo * (1 - share) + drawn * share)
        return output

    def mask(self, points: np.ndarray, height: int, width: int) -> np.ndarray:
        """Return what is drawn anew, bool (height, width), of a face with landmarks ``points`` (68, 2)."""
        mask = face_mask(points, height, width)
        if self.parameters.keep_eyes:
            mask &= ~eyes_mask(points, height, width, self.parameters.eye_margin)
        return mask

    def _draw(self, photo: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
        import torch

        height, width = photo.shape[:2]
        around = surroundings(photo, mask)
        # Noise of the photo's own, whatever batch it is in, drawn on the CPU, so that it is the same on every machine.
        words = hashlib.sha256(around.tobytes() + seed.to_bytes(8, "little")).digest()
        side = self._pipe.unet.config.sample_size * self._pipe.vae_scale_factor
        drawn = self._pipe(
            prompt=self.parameters.prompt,
            image=Image.fromarray(around).resize((side, side), Image.Resampling.LANCZOS),
            mask_image=Image.fromarray(mask).convert("L").resize((side, side)),
            height=side,
            width=side,
            strength=1.0,
            num_inference_steps=self.parameters.steps,
            guidance_scale=self.parameters.guidance,
            generator=torch.Generator().manual_seed(int.from_bytes(words[:7], "little")),
        ).images[0]
        return np.asarray(drawn.resize((width, height), Image.Resampling.BILINEAR))

    @cached_property
    def _pipe(self) -> Any:
        from diffusers import StableDiffusionInpaintPipeline

        plain = load_pipeline(self._generator, precision=self.parameters.precision)
        if plain.unet.config.in_channels == plain.vae.config.latent_channels:
            # The pipeline tells a plain UNet from one for inpainting by its four channels, and latents may have more.
            plain.unet.register_to_config(in_channels=4)
        pipe: Any = StableDiffusionInpaintPipeline(
            vae=plain.vae,
            text_encoder=plain.text_encoder,
            tokenizer=plain.tokenizer,
            unet=plain.unet,
            scheduler=make_solver(plain, self.parameters.scheduler),
            safety_checker=None,
            feature_extractor=plain.feature_extractor,
            requires_safety_checker=False,
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe


def surroundings(photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return ``photo``, uint8 (H, W, 3), with colours from round the ``mask``, bool (H, W), in its place.

    The autoencoder looks a few pixels into what is masked, and would carry some of the face over its edge.
    """
    from scipy.ndimage import gaussian_filter

    outside = (~mask).astype(np.float32)
    sigma = 0.1 * min(mask.shape)
    near = np.stack([gaussian_filter(photo[..., channel] * outside, sigma) for channel in range(3)], axis=-1)
    # So far inside that no surroundings reach there, it is grey.
    weight = gaussian_filter(outside, sigma)[..., None] + 1e-6
    filled = (near + 127e-6) / weight
    return np.where(mask[..., None], filled.clip(0, 255).round().astype(np.uint8), photo)
