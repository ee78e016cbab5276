"""Load what a generator is made of: a Stable-Diffusion-format checkpoint, a LoRA, an IP-Adapter.

Everything is read from disk (``safetensors`` only) and nothing is ever fetched. A source is the name of weights in
``weights/weights.yaml`` or a folder; SD v1-5 and the shipped ``phantom-sd`` differ in size alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mema.errors import UserError
from mema.files import sha256_file, sha256_json
from mema.weights import locate

if TYPE_CHECKING:
    from torch import Tensor

LORA_FILE = "pytorch_lora_weights.safetensors"


class Generator(NamedTuple):
    """Which weights make a generator.

    ``checkpoint`` and ``adapter`` (an IP-Adapter with ``models/image_encoder``) are names of weights or folders,
    ``adapter_file`` picks one of several files in the adapter's ``models/``, ``lora`` is a folder or a file.
    """

    checkpoint: str | Path
    lora: str | Path | None = None
    adapter: str | Path | None = None
    adapter_file: str | None = None


def find_weights(source: str | Path) -> Path:
    """Return the folder or file that ``source`` means: an existing path, or else a name in the table of weights.

    UserError when there is neither, with the licence under which the named weights are to be had.
    """
    path = Path(source)
    return path if path.exists() else locate(str(source))


def find_adapter(source: str | Path, file: str | None = None) -> Path:
    """Return the weight file of an IP-Adapter folder: ``models/<file>``, or its only safetensors file.

    UserError when the file is missing or, without a name, ambiguous.
    """
    models = find_weights(source) / "models"
    if file is not None:
        if not (models / file).is_file():
            raise UserError(f"IP-Adapter {source}: no file models/{file}")
        return models / file
    files = sorted(models.glob("*.safetensors"))
    if len(files) != 1:
        raise UserError(f"IP-Adapter {source}: {len(files)} safetensors files in models/; name one as adapter_file")
    return files[0]


def load_pipeline(generator: Generator, *, device: str | None = None) -> Any:
    """Return a diffusers ``StableDiffusionPipeline`` in float32, in evaluation mode, without a safety checker.

    The LoRA is merged into the UNet, which saves two small matrix products a layer. ``device`` defaults to the GPU if
    there is one. UserError when something is missing or is not what its name says.
    """
    import torch
    from diffusers import StableDiffusionPipeline

    _quieten()
    checkpoint, lora, adapter, adapter_file = generator
    folder = find_weights(checkpoint)
    if not (folder / "model_index.json").is_file():
        raise UserError(f"checkpoint {checkpoint}: no model_index.json in {folder}, so not in diffusers format")
    try:
        pipe = StableDiffusionPipeline.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            safety_checker=None,
            requires_safety_checker=False,
            dtype=torch.float32,
        )
    except (OSError, ValueError) as error:
        raise UserError(f"checkpoint {checkpoint}: cannot be loaded ({_first_line(error)})") from None
    pipe.set_progress_bar_config(disable=True)
    if adapter is not None:
        weights = find_adapter(adapter, adapter_file)
        try:
            pipe.load_ip_adapter(
                str(find_weights(adapter)),
                subfolder="models",
                weight_name=weights.name,
                image_encoder_folder="image_encoder",
                local_files_only=True,
            )
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise UserError(f"IP-Adapter {adapter}: does not fit {checkpoint} ({_first_line(error)})") from None
    if lora is not None:
        try:
            pipe.load_lora_weights(str(lora_file(lora).parent), weight_name=lora_file(lora).name, local_files_only=True)
        except (ValueError, RuntimeError, KeyError) as error:
            raise UserError(f"LoRA {lora}: does not fit {checkpoint} ({_first_line(error)})") from None
        pipe.fuse_lora()
        pipe.unload_lora_weights()
    for module in (pipe.unet, pipe.vae, pipe.text_encoder, pipe.image_encoder):
        if module is not None:
            module.requires_grad_(False).eval()
    return pipe.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def lora_file(source: str | Path) -> Path:
    """Return the LoRA file that ``source`` (file, folder or name of weights) means; UserError if it is missing."""
    path = find_weights(source)
    path = path / LORA_FILE if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"LoRA {source}: no file {LORA_FILE}")
    return path


def generator_digest(generator: Generator) -> str:
    """Return the sha256 that stands for all weights of a generator: names and hashes of its safetensors files."""
    checkpoint, lora, adapter, adapter_file = generator
    folder = find_weights(checkpoint)
    files = {f"checkpoint/{f.relative_to(folder).as_posix()}": f for f in sorted(folder.rglob("*.safetensors"))}
    if lora is not None:
        files["lora"] = lora_file(lora)
    if adapter is not None:
        files["adapter"] = find_adapter(adapter, adapter_file)
        encoder = find_weights(adapter) / "models" / "image_encoder"
        files |= {f"image_encoder/{f.name}": f for f in sorted(encoder.glob("*.safetensors"))}
    return sha256_json({name: sha256_file(file) for name, file in files.items()})


def encode_prompts(pipe: Any, prompts: Sequence[str]) -> dict[str, Tensor]:
    """Return the text encoder's hidden states of each different prompt, float32 (tokens, D); each is run once."""
    import torch

    encoded = {}
    with torch.no_grad():
        for prompt in dict.fromkeys(prompts):
            encoded[prompt] = pipe.encode_prompt(prompt, pipe.device, 1, False)[0][0].float()
    return encoded


def encode_latents(pipe: Any, images: np.ndarray, *, batch: int = 16) -> Tensor:
    """Return the VAE's latent means of uint8 images (N, H, W, 3), scaled for the UNet: float32 (N, C, h, w), CPU."""
    import torch

    parts = []
    with torch.no_grad():
        for start in range(0, len(images), batch):
            pixels = torch.from_numpy(np.ascontiguousarray(images[start : start + batch])).to(pipe.device)
            pixels = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
            parts.append(pipe.vae.encode(pixels).latent_dist.mode().float().cpu())
    return (torch.cat(parts) - float(pipe.vae.config.get("shift_factor") or 0)) * pipe.vae.config.scaling_factor


def encode_faces(pipe: Any, images: np.ndarray, *, batch: int = 16) -> Tensor:
    """Return the IP-Adapter's image embeddings of uint8 faces (N, H, W, 3): float32 (N, E), on the CPU."""
    import torch

    parts = [torch.empty(0, pipe.image_encoder.config.projection_dim)]
    with torch.no_grad():
        for start in range(0, len(images), batch):
            pixels = pipe.feature_extractor(list(images[start : start + batch]), return_tensors="pt").pixel_values
            parts.append(pipe.image_encoder(pixels.to(pipe.device)).image_embeds.float().cpu())
    return torch.cat(parts)


def _quieten() -> None:
    """Keep the libraries' bars over a few small files out of the way of the stages' own bars."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
