"""A generator of the real classes and file layout, too small to draw anything: for tests of what surrounds it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before torch is loaded: some tests fork, and a forked child hangs in a pool of threads that its parent has used.
os.environ["OMP_NUM_THREADS"] = "1"

SIZE = 32
LETTERS = "abcdefghijklmnopqrstuvwxyz,-"


@pytest.fixture(scope="session")
def tiny_generator(tmp_path_factory):
    """Folder with ``sd`` (a StableDiffusionPipeline for 32 px) and ``adapter`` (an IP-Adapter), random weights."""
    folder = tmp_path_factory.mktemp("tiny-generator")
    write_tiny_generator(folder)
    return folder


def write_tiny_generator(folder: Path) -> None:
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from safetensors.torch import save_file
    from transformers import (
        CLIPImageProcessor,
        CLIPTextConfig,
        CLIPTextModel,
        CLIPTokenizer,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    torch.manual_seed(0)
    entries = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={entry: n for n, entry in enumerate(entries)}, merges=[], model_max_length=64)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    sides = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = CLIPTextConfig(vocab_size=len(entries), max_position_embeddings=64, projection_dim=16, **sides, **ends)
    unet = UNet2DConditionModel(
        sample_size=SIZE // 2,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=SIZE,
    )
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(**schedule, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}),
        requires_safety_checker=False,
    ).save_pretrained(folder / "sd", safe_serialization=True)

    models = folder / "adapter" / "models"
    vision = CLIPVisionConfig(image_size=SIZE, patch_size=8, projection_dim=16, **sides)
    CLIPVisionModelWithProjection(vision).save_pretrained(models / "image_encoder")
    # The layout of the published IP-Adapter files: one key and one value projection per cross attention.
    adapter = {
        "image_proj.proj.weight": torch.randn(4 * 16, 16),
        "image_proj.proj.bias": torch.zeros(4 * 16),
        "image_proj.norm.weight": torch.ones(16),
        "image_proj.norm.bias": torch.zeros(16),
    }
    for number, name in enumerate(unet.attn_processors):
        if "attn2" in name:
            shape = unet.get_submodule(name.removesuffix(".processor")).to_k.weight.shape
            adapter |= {f"ip_adapter.{number}.to_{kind}_ip.weight": torch.randn(shape) for kind in "kv"}
    save_file(adapter, models / "ip-adapter_tiny.safetensors")
