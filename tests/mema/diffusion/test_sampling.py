"""Sampling: a row is the same picture in any batch, donors and their weights stay with their rows."""

from __future__ import annotations

import numpy as np
import pytest

from mema.diffusion.checkpoint import Generator, encode_faces, generator_digest, load_pipeline
from mema.diffusion.sampling import DECODED_AT_ONCE, Drawing, Schedule
from mema.diffusion.sampling import sample as sample_with
from mema.errors import UserError

SETTINGS = {"steps": 4, "guidance": 3.0}
GREY_LEVEL = 1


def sample(pipe, drawings, *, batch=8, untuned=None, **schedule):
    return sample_with(pipe, drawings, size=32, schedule=Schedule(**schedule), untuned=untuned, batch=batch)


@pytest.fixture(scope="module")
def pipe(tiny_generator):
    return load_pipeline(Generator(tiny_generator / "sd", adapter=tiny_generator / "adapter"), device="cpu")


@pytest.fixture(scope="module")
def drawings(pipe):
    faces = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    prompts = ["a face", "a face, eye with ptosis", "a face", "scc", "a face, heavy-level"]
    weights = [0.2, 0.9, 0.4, 0.31, 0.0]
    rows = zip(prompts, encode_faces(pipe, faces), weights, strict=True)
    return [Drawing(prompt, 100 + n, donor, weight) for n, (prompt, donor, weight) in enumerate(rows)]


@pytest.mark.parametrize("scheduler", ["dpm", "ddim"])
def test_a_row_alone_is_the_row_in_the_batch(pipe, drawings, scheduler):
    together = sample(pipe, drawings, **SETTINGS, solver=scheduler, batch=5)
    alone = np.concatenate([sample(pipe, [row], **SETTINGS, solver=scheduler) for row in drawings])
    assert together.shape == (5, 32, 32, 3) and together.dtype == np.uint8
    assert np.abs(together.astype(int) - alone).max() <= GREY_LEVEL


def test_the_same_call_gives_the_same_bytes(pipe, drawings):
    assert np.array_equal(sample(pipe, drawings, **SETTINGS, batch=2), sample(pipe, drawings, **SETTINGS, batch=2))


def test_weight_zero_is_direct_sampling(pipe, drawings, tiny_generator):
    plain = load_pipeline(Generator(tiny_generator / "sd"), device="cpu")
    bare = [Drawing(row.prompt, row.seed) for row in drawings]
    unweighted = [row._replace(donor_weight=0.0) for row in drawings]
    direct = sample(plain, bare, **SETTINGS)
    assert np.abs(direct.astype(int) - sample(pipe, bare, **SETTINGS)).max() <= GREY_LEVEL
    assert np.abs(direct.astype(int) - sample(pipe, unweighted, **SETTINGS)).max() <= GREY_LEVEL


def test_donor_weight_prompt_and_seed_each_change_the_picture(pipe, drawings):
    row = drawings[1]
    variants = [
        row,
        row._replace(donor=drawings[0].donor),
        row._replace(donor_weight=0.3),
        row._replace(prompt="scc"),
        row._replace(seed=7),
    ]
    pictures = sample(pipe, variants, **SETTINGS).astype(int)
    assert all(np.abs(picture - pictures[0]).max() > GREY_LEVEL for picture in pictures[1:])


def test_donors_may_leave_before_the_end(pipe, drawings):
    rows = [drawings[1], drawings[3]]
    always, never = sample(pipe, rows, **SETTINGS), sample(pipe, [row._replace(donor=None) for row in rows], **SETTINGS)
    assert np.array_equal(sample(pipe, rows, **SETTINGS, donor_until=0.0), never)
    half = sample(pipe, rows, **SETTINGS, donor_until=0.5).astype(int)
    assert np.abs(half - always).max() > GREY_LEVEL and np.abs(half - never).max() > GREY_LEVEL


def test_fine_tuned_weights_may_come_after_the_donor(pipe, drawings, tiny_generator):
    import torch

    other = load_pipeline(Generator(tiny_generator / "sd", adapter=tiny_generator / "adapter"), device="cpu")
    with torch.no_grad():
        for value in other.unet.parameters():
            value.add_(0.02 * torch.randn(value.shape, generator=torch.Generator().manual_seed(0)))
    direct = Drawing("scc", 3)
    rows = [drawings[1], direct, drawings[3], drawings[4]]
    tuned, untuned = sample(pipe, rows, **SETTINGS).astype(int), sample(other, rows, **SETTINGS).astype(int)
    at_once = sample(pipe, rows, **SETTINGS, untuned=other, tuned_from=0.0)
    assert np.array_equal(at_once, tuned)
    late = sample(pipe, rows, **SETTINGS, untuned=other, tuned_from=0.5).astype(int)
    never = sample(pipe, rows, **SETTINGS, untuned=other, tuned_from=1.0).astype(int)
    with_donor, without = [0, 2], [1, 3]
    assert np.abs(late[without] - tuned[without]).max() <= GREY_LEVEL, "a row without a donor, or with none of it"
    assert np.abs(never[with_donor] - untuned[with_donor]).max() <= GREY_LEVEL
    for row in with_donor:
        assert np.abs(late[row] - tuned[row]).max() > GREY_LEVEL
        assert np.abs(late[row] - untuned[row]).max() > GREY_LEVEL


@pytest.mark.parametrize("guide_donor", [True, False])
def test_a_uniform_batch_equals_the_diffusers_pipeline(pipe, drawings, guide_donor):
    """One row, so that the pipeline's own preparation of embeddings is right (it is not for batches)."""
    import torch

    row = drawings[1]
    pipe.set_ip_adapter_scale(row.donor_weight)
    free = torch.zeros_like(row.donor) if guide_donor else row.donor
    embeds = torch.stack([free, row.donor]).unsqueeze(1)
    theirs = pipe(
        row.prompt,
        ip_adapter_image_embeds=[embeds],
        latents=torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(row.seed)),
        num_inference_steps=4,
        guidance_scale=3.0,
        height=32,
        width=32,
        output_type="np",
    ).images
    ours = sample(pipe, [row], **SETTINGS, solver="ddim", guide_donor=guide_donor)
    assert np.abs(np.round(theirs * 255) - ours).max() <= GREY_LEVEL


def test_half_precision_is_the_same_picture_but_for_rounding(pipe, drawings, tiny_generator):
    import torch

    generator = Generator(tiny_generator / "sd", adapter=tiny_generator / "adapter")
    half = load_pipeline(generator, device="cpu", precision="bf16")
    assert half.unet.dtype == half.vae.dtype == torch.bfloat16
    assert half.text_encoder.dtype == half.image_encoder.dtype == torch.float32
    exact = sample(pipe, drawings, **SETTINGS).astype(int)
    rounded = sample(half, drawings, **SETTINGS, batch=5).astype(int)
    alone = np.concatenate([sample(half, [row], **SETTINGS) for row in drawings])
    assert np.abs(exact - rounded).mean() < 1 < np.abs(exact - exact[::-1]).mean()
    assert np.abs(alone - rounded).mean() < 1
    assert load_pipeline(generator, device="cpu", precision="fp16").unet.dtype == torch.float32


def test_images_are_decoded_in_parts(pipe, drawings):
    """More rows in a batch than the VAE decodes at a time, and not a multiple of them."""
    assert len(drawings) == DECODED_AT_ONCE + 1
    together = sample(pipe, drawings, **SETTINGS, batch=5)
    assert np.abs(together[-1].astype(int) - sample(pipe, drawings[-1:], **SETTINGS)[0]).max() <= GREY_LEVEL


def test_no_rows_give_no_images(pipe):
    assert sample(pipe, [], **SETTINGS).shape == (0, 32, 32, 3)


def test_donors_need_an_adapter(tiny_generator, drawings):
    plain = load_pipeline(Generator(tiny_generator / "sd"), device="cpu")
    with pytest.raises(UserError, match="no IP-Adapter"):
        sample(plain, drawings, **SETTINGS)


def test_what_is_missing_is_named(tiny_generator, tmp_path):
    with pytest.raises(UserError, match=r"no model_index\.json"):
        load_pipeline(Generator(tmp_path))
    with pytest.raises(UserError, match="unknown weights 'phantom-ds'; did you mean 'phantom-sd'"):
        load_pipeline(Generator("phantom-ds"))
    with pytest.raises(UserError, match="no file models/other"):
        load_pipeline(Generator(tiny_generator / "sd", None, tiny_generator / "adapter", "other.safetensors"))
    with pytest.raises(UserError, match="no file pytorch_lora_weights"):
        load_pipeline(Generator(tiny_generator / "sd", tmp_path))


def test_digest_depends_on_every_part(tiny_generator):
    digests = {
        generator_digest(Generator(tiny_generator / "sd")),
        generator_digest(Generator(tiny_generator / "sd", adapter=tiny_generator / "adapter")),
    }
    assert len(digests) == 2 and all(len(digest) == 64 for digest in digests)
