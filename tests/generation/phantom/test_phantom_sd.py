"""The shipped phantom-sd is a Stable Diffusion checkpoint: plain diffusers loads it, samples, and injects a donor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from generation.phantom.population import draw_donor
from generation.phantom.render import render
from mema.taxonomy import load_taxonomy, taxonomies
from mema.weights import locate


@pytest.fixture(scope="module")
def donor() -> np.ndarray:
    case = draw_donor(0, 31)
    return render(case.subject, case.shots[0], case.finding, 128).image


@pytest.fixture(scope="module")
def pipeline() -> object:
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(locate("phantom-sd"), local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _sample(pipe: object, seed: int, **options: object) -> np.ndarray:
    import torch

    made = pipe(  # type: ignore[operator]
        "A face, young woman",
        num_inference_steps=2,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
        **options,
    )
    return made.images[0]


def test_plain_pipeline_samples_and_repeats_itself(pipeline: object) -> None:
    image = _sample(pipeline, 0)
    assert image.shape == (128, 128, 3)
    assert image.std() > 0.05
    assert np.array_equal(image, _sample(pipeline, 0))
    assert not np.allclose(image, _sample(pipeline, 1), atol=0.02)


def test_adapter_loads_and_carries_the_donor(donor: np.ndarray) -> None:
    from diffusers import StableDiffusionPipeline
    from PIL import Image

    pipe = StableDiffusionPipeline.from_pretrained(locate("phantom-sd"), local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.load_ip_adapter(
        str(locate("phantom-ip-adapter")),
        subfolder="models",
        weight_name="ip-adapter_phantom.safetensors",
        local_files_only=True,
    )
    images = {}
    for weight in (0.0, 0.4):
        pipe.set_ip_adapter_scale(weight)
        images[weight] = _sample(pipe, 0, ip_adapter_image=Image.fromarray(donor))
    middle = (slice(32, 96), slice(32, 96))
    skin = donor[middle].mean(axis=(0, 1)) / 255
    error = {weight: np.abs(image[middle].mean(axis=(0, 1)) - skin).mean() for weight, image in images.items()}
    assert error[0.4] < error[0.0]


def test_autoencoder_keeps_a_phantom(pipeline: object, donor: np.ndarray) -> None:
    import torch

    vae = pipeline.vae  # type: ignore[attr-defined]
    signal = torch.from_numpy(donor).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        latents = vae.encode(signal).latent_dist.mean
        decoded = vae.decode(latents).sample.clamp(-1, 1)
    decibel = -10 * torch.log10(((decoded - signal) / 2).square().mean())
    assert decibel > 32
    assert 0.5 < float((latents * vae.config.scaling_factor).std()) < 2


def test_every_disease_and_level_has_tokens_of_its_own(pipeline: object) -> None:
    tokenizer = pipeline.tokenizer  # type: ignore[attr-defined]
    clinics = [load_taxonomy(name) for name in taxonomies()]
    prompts = {clinic.prompt(code, level) for clinic in clinics for code in clinic.codes for level in clinic.levels}
    ids = {tuple(tokenizer(prompt, padding="max_length", truncation=True).input_ids) for prompt in prompts}
    assert len(ids) == len(prompts)


def test_only_safetensors_are_shipped_and_they_are_small() -> None:
    folders = (locate("phantom-sd"), locate("phantom-ip-adapter"))
    files = [file for folder in folders for file in Path(folder).rglob("*") if file.is_file()]
    assert {file.suffix for file in files} <= {".json", ".txt", ".md", ".safetensors"}
    assert sum(file.stat().st_size for file in files) < 16e6
