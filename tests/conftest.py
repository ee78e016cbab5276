"""What tests of several rooms share: a tiny generator, a real browser, a disk that is soon full."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Before torch is loaded: some tests fork, and a forked child hangs in a pool of threads that its parent has used.
os.environ["OMP_NUM_THREADS"] = "1"

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; without one the test fails where MEMA_REQUIRE_CHROMIUM is set, as in CI, and is skipped else."""
    if CHROMIUM is None:
        if os.environ.get("MEMA_REQUIRE_CHROMIUM") == "1":
            pytest.fail("MEMA_REQUIRE_CHROMIUM=1, but no chromium is installed (apt-get install chromium)")
        pytest.skip("no chromium is installed (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


class SmallDisk:
    """A file system of its own, in memory, mounted at ``path``."""

    PAGE = 4096

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, size: int) -> None:
        """Make it ``size`` bytes large."""
        subprocess.run(["mount", "-o", f"remount,size={size}", self.path], check=True)

    def leave(self, pages: int) -> None:
        """Leave room for so many pages of 4 KiB beside what is there."""
        now = os.statvfs(self.path)
        self.resize((now.f_blocks - now.f_bfree) * now.f_frsize + pages * self.PAGE)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 64 MiB, which tests shrink until it is full; skipped without root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield SmallDisk(disk)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


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
