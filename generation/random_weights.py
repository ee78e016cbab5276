"""Write Stable Diffusion v1-5 and its IP-Adapter with random weights, in the published file layout.

    python -m generation.random_weights --out FOLDER --half
    MEMA_WEIGHTS=FOLDER mema generate finetune --config configs/mema-sd15.yaml

The real weights may not be shipped, so this is what proves that the production settings run on the true architecture,
and what its speed is measured on. Names and shapes of all tensors and the contents of all configuration files are those
of ``stable-diffusion-v1-5/stable-diffusion-v1-5`` (diffusers layout, without the safety checker, which nothing here
loads) and of ``models/`` of ``h94/IP-Adapter`` (``ip-adapter_sd15.safetensors`` and OpenCLIP's ViT-H/14). The weights
are noise, and the tokenizer has the published number of entries but merges of its own: the words of the clinics'
prompts, filled up with pairs of bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mema.errors import run_script
from mema.files import atomic_write

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Shapes = dict[str, tuple[int, ...]]

CHECKPOINT, ADAPTER = "sd-v1-5", "ip-adapter-sd15"
"""Folders under the names that ``weights/weights.yaml`` looks for."""

ADAPTER_FILE = "ip-adapter_sd15.safetensors"
DIFFUSION_FILE, TRANSFORMERS_FILE = "diffusion_pytorch_model.safetensors", "model.safetensors"
TOKENS = 77
VOCABULARY = 49_408
BEGINNING, END = "<|startoftext|>", "<|endoftext|>"
ADAPTER_TOKENS = 4

MODEL_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.6.0",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
UNET = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.6.0",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "cross_attention_dim": 768,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
}
VAE = {
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.6.0",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 512,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
TEXT_ENCODER = {
    "_name_or_path": "openai/clip-vit-large-patch14",
    "architectures": ["CLIPTextModel"],
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "dropout": 0.0,
    "eos_token_id": 2,
    "hidden_act": "quick_gelu",
    "hidden_size": 768,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": TOKENS,
    "model_type": "clip_text_model",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 1,
    "projection_dim": 768,
    "torch_dtype": "float32",
    "transformers_version": "4.22.0.dev0",
    "vocab_size": VOCABULARY,
}
IMAGE_ENCODER = {
    "_name_or_path": "./image_encoder",
    "architectures": ["CLIPVisionModelWithProjection"],
    "attention_dropout": 0.0,
    "dropout": 0.0,
    "hidden_act": "gelu",
    "hidden_size": 1280,
    "image_size": 224,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "intermediate_size": 5120,
    "layer_norm_eps": 1e-05,
    "model_type": "clip_vision_model",
    "num_attention_heads": 16,
    "num_channels": 3,
    "num_hidden_layers": 32,
    "patch_size": 14,
    "projection_dim": 1024,
    "torch_dtype": "float16",
    "transformers_version": "4.28.0.dev0",
}
FEATURE_EXTRACTOR = {
    "crop_size": 224,
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": 224,
}
TOKENIZER = {
    "add_prefix_space": False,
    "bos_token": BEGINNING,
    "do_lower_case": True,
    "eos_token": END,
    "errors": "replace",
    "model_max_length": TOKENS,
    "name_or_path": "openai/clip-vit-large-patch14",
    "pad_token": END,
    "tokenizer_class": "CLIPTokenizer",
    "unk_token": END,
}
SPECIAL_TOKENS = {"bos_token": BEGINNING, "eos_token": END, "pad_token": END, "unk_token": END}

# The autoencoder was published before diffusers gave the layers of its attention their present names.
VAE_NAMES = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}


def build_models() -> dict[str, torch.nn.Module]:
    """Return the four networks by folder name, on the meta device: names and shapes, no memory."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

    with torch.device("meta"):
        return {
            "unet": UNet2DConditionModel.from_config(UNET),
            "vae": AutoencoderKL.from_config(VAE),
            "text_encoder": CLIPTextModel(CLIPTextConfig.from_dict(TEXT_ENCODER)),
            "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(IMAGE_ENCODER)),
        }


def published_shapes(models: Mapping[str, torch.nn.Module]) -> dict[str, Shapes]:
    """Return names and shapes of the tensors of each published file: the four networks' and ``ip_adapter``."""
    shapes = {part: {name: tuple(p.shape) for name, p in model.named_parameters()} for part, model in models.items()}
    shapes["vae"] = {_vae_name(name): shape for name, shape in shapes["vae"].items()}
    # transformers 5 drops the prefix that the published file has.
    shapes["text_encoder"] = {
        f"text_model.{name.removeprefix('text_model.')}": shape for name, shape in shapes["text_encoder"].items()
    }
    shapes["ip_adapter"] = _adapter_shapes(models["unet"])
    return shapes


def _vae_name(name: str) -> str:
    for new, old in VAE_NAMES.items():
        name = name.replace(new, old)
    return name


def _adapter_shapes(unet: Any) -> Shapes:
    """A projection of the image's embedding to four tokens, and keys and values of them for each cross attention."""
    width, embedding = int(unet.config.cross_attention_dim), int(str(IMAGE_ENCODER["projection_dim"]))
    shapes: Shapes = {
        "image_proj.proj.weight": (ADAPTER_TOKENS * width, embedding),
        "image_proj.proj.bias": (ADAPTER_TOKENS * width,),
        "image_proj.norm.weight": (width,),
        "image_proj.norm.bias": (width,),
    }
    for number, name in enumerate(unet.attn_processors):
        if "attn2" in name:
            inner = tuple(unet.get_submodule(name.removesuffix(".processor")).to_k.weight.shape)
            shapes |= {f"ip_adapter.{number}.to_{kind}_ip.weight": inner for kind in "kv"}
    return shapes


def random_tensors(shapes: Shapes, dtype: torch.dtype, *, seed: int) -> dict[str, Tensor]:
    """Return tensors that keep a signal's size: norms are 1, biases 0, matrices ~ N(0, 1 / inputs)."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        if len(shape) == 1:
            tensors[name] = torch.full(shape, 1.0 if name.endswith("weight") else 0.0, dtype=dtype)
        else:
            deviation = 0.02 if "embedding" in name else prod(shape[1:]) ** -0.5
            tensors[name] = torch.randn(shape, generator=generator).mul_(deviation).to(dtype)
    return tensors


def build_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return a vocabulary of 49,408 entries and its merges, in CLIP's order: bytes, bytes that end a word, merges."""
    letters = _byte_letters()
    entries = [*letters, *(f"{letter}</w>" for letter in letters)]
    known, merges = set(entries), []
    for left, right in _merges(letters):
        if len(entries) == VOCABULARY - 2:
            break
        if left + right not in known:
            merges.append((left, right))
            entries.append(left + right)
            known.add(left + right)
    return {entry: number for number, entry in enumerate([*entries, BEGINNING, END])}, merges


def _merges(letters: list[str]) -> Iterator[tuple[str, str]]:
    from mema.taxonomy import load_taxonomy, taxonomies

    clinics = [load_taxonomy(name) for name in taxonomies()]
    prompts = [clinic.prompt(code, level) for clinic in clinics for code in clinic.codes for level in clinic.levels]
    for word in sorted({word for prompt in prompts for word in prompt.lower().replace(",", " ").split()}):
        left, *rest = [*word[:-1], f"{word[-1]}</w>"]
        for right in rest:
            yield left, right
            left += right
    yield from product(letters, [*letters, *(f"{letter}</w>" for letter in letters)])


def _byte_letters() -> list[str]:
    """The letters that stand for the 256 bytes in GPT-2's and CLIP's files, in their order."""
    ranges = (("!", "~"), ("¡", "¬"), ("®", "ÿ"))
    printable = [chr(code) for first, last in ranges for code in range(ord(first), ord(last) + 1)]
    return printable + [chr(256 + number) for number in range(256 - len(printable))]


def write_settings(folder: Path) -> None:
    """Write everything but the tensors below ``folder``: configurations and the tokenizer's files."""
    checkpoint = folder / CHECKPOINT
    vocabulary, merges = build_vocabulary()
    contents = {
        checkpoint / "model_index.json": MODEL_INDEX,
        checkpoint / "scheduler" / "scheduler_config.json": SCHEDULER,
        checkpoint / "unet" / "config.json": UNET,
        checkpoint / "vae" / "config.json": VAE,
        checkpoint / "text_encoder" / "config.json": TEXT_ENCODER,
        checkpoint / "feature_extractor" / "preprocessor_config.json": FEATURE_EXTRACTOR,
        checkpoint / "tokenizer" / "tokenizer_config.json": TOKENIZER,
        checkpoint / "tokenizer" / "special_tokens_map.json": SPECIAL_TOKENS,
        checkpoint / "tokenizer" / "vocab.json": vocabulary,
        folder / ADAPTER / "models" / "image_encoder" / "config.json": IMAGE_ENCODER,
    }
    for file, content in contents.items():
        atomic_write(file, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    atomic_write(checkpoint / "tokenizer" / "merges.txt", "\n".join(lines) + "\n")


def write_weights(folder: Path, *, half: bool = False, seed: int = 0) -> None:
    """Write ``folder/sd-v1-5`` and ``folder/ip-adapter-sd15`` whole; float32, or with ``half`` float16 (3.5 GB).

    The file names are those of the float32 files in either case, since these are what is loaded by default.
    """
    import torch
    from safetensors.torch import save_file

    write_settings(folder)
    checkpoint, adapter = folder / CHECKPOINT, folder / ADAPTER / "models"
    files = {
        "unet": checkpoint / "unet" / DIFFUSION_FILE,
        "vae": checkpoint / "vae" / DIFFUSION_FILE,
        "text_encoder": checkpoint / "text_encoder" / TRANSFORMERS_FILE,
        "image_encoder": adapter / "image_encoder" / TRANSFORMERS_FILE,
        "ip_adapter": adapter / ADAPTER_FILE,
    }
    # Buffers that later versions of transformers no longer save, but that the published files hold.
    positions = {
        "text_encoder": {"text_model.embeddings.position_ids": torch.arange(TOKENS)[None]},
        "image_encoder": {"vision_model.embeddings.position_ids": torch.arange(257)[None]},
    }
    for number, (part, shapes) in enumerate(published_shapes(build_models()).items()):
        tensors = random_tensors(shapes, torch.float16 if half else torch.float32, seed=seed + number)
        save_file(tensors | positions.get(part, {}), files[part], metadata={"format": "pt"})


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for both.")
@click.option("--half", is_flag=True, help="Tensors in float16: 3.5 GB instead of 7.")
@click.option("--seed", default=0, show_default=True)
def main(out: Path, half: bool, seed: int) -> None:
    """Write Stable Diffusion v1-5 and its IP-Adapter with random weights, in the published file layout."""
    write_weights(out, half=half, seed=seed)
    click.echo(f"random weights: {out}; use them with MEMA_WEIGHTS={out}")


if __name__ == "__main__":
    run_script(main)
