"""Load what a generator is made of: a Stable-Diffusion-format checkpoint, fine-tuned weights, an IP-Adapter.

Everything is read from disk (``safetensors`` only) and nothing is ever fetched. A source is the name of weights in
``weights/weights.yaml`` or a folder; SD v1-5 and the shipped ``phantom-sd`` differ in size alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from mema.errors import UserError
from mema.files import sha256_file, sha256_json
from mema.weights import find_weights

if TYPE_CHECKING:
    from torch import Tensor

LORA_FILE = "pytorch_lora_weights.safetensors"
UNET_FOLDER = "unet"

Precision = Literal["no", "bf16", "fp16"]


class Generator(NamedTuple):
    """Which weights make a generator.

    ``checkpoint`` and ``adapter`` (an IP-Adapter with ``models/image_encoder``) are names of weights or folders,
    ``adapter_file`` picks one of several files in the adapter's ``models/``. ``tuned`` is what fine-tuning wrote: a
    folder with ``pytorch_lora_weights.safetensors`` (or that file alone) or with a whole ``unet/``.
    """

    checkpoint: str | Path
    tuned: str | Path | None = None
    adapter: str | Path | None = None
    adapter_file: str | None = None


def native_precision() -> Precision:
    """Return "bf16" where the GPU, or without one the processor, multiplies bfloat16 itself, else "no"."""
    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    capabilities = torch.cpu.get_capabilities()
    # Each instruction set has a name of its own: avx512_bf16, amx_bf16, on ARM bf16 and sve_bf16.
    return "bf16" if any(there for name, there in capabilities.items() if name.endswith("bf16")) else "no"


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


def load_pipeline(generator: Generator, *, device: str | None = None, precision: Precision = "no") -> Any:
    """Return a diffusers ``StableDiffusionPipeline`` in evaluation mode, without a safety checker.

    A LoRA is merged into the UNet, which saves two small matrix products a layer; a fine-tuned UNet takes the place of
    the checkpoint's. ``device`` defaults to the GPU if there is one. ``precision`` is that of the UNet and the VAE:
    "no" is float32, and so is "fp16" on a CPU; the encoders, which run once a prompt and face, stay in float32.
    UserError when something is missing or is not what its name says.
    """
    import torch
    from diffusers import StableDiffusionPipeline

    _quieten()
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    checkpoint, tuned, adapter, adapter_file = generator
    folder = find_weights(checkpoint)
    unet = None if tuned is None else tuned_unet(tuned)
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
            **({} if unet is None else {"unet": _load_unet(unet)}),
        )
    except (OSError, ValueError) as error:
        raise UserError(f"checkpoint {checkpoint}: cannot be loaded ({_first_line(error)})") from None
    pipe.set_progress_bar_config(disable=True)
    if pipe.unet.config.cross_attention_dim != pipe.text_encoder.config.hidden_size:
        raise UserError(f"UNet {tuned or checkpoint}: does not fit the text encoder of {checkpoint}")
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
    if tuned is not None and unet is None:
        file = lora_file(tuned)
        try:
            pipe.load_lora_weights(str(file.parent), weight_name=file.name, local_files_only=True)
        except (ValueError, RuntimeError, KeyError) as error:
            raise UserError(f"LoRA {tuned}: does not fit {checkpoint} ({_first_line(error)})") from None
        pipe.fuse_lora()
        pipe.unload_lora_weights()
    for module in (pipe.unet, pipe.vae, pipe.text_encoder, pipe.image_encoder):
        if module is not None:
            module.requires_grad_(False).eval()
    pipe.to(device)
    on_gpu = pipe.device.type != "cpu"
    half = {"bf16": torch.bfloat16, "fp16": torch.float16 if on_gpu else torch.float32}
    for module in (pipe.unet, pipe.vae):
        module.to(half.get(precision, torch.float32))
        if on_gpu:
            # The layout that a GPU's convolutions are fastest in; a CPU's choose their own.
            module.to(memory_format=torch.channels_last)
    return pipe


def lora_file(source: str | Path) -> Path:
    """Return the LoRA file that ``source`` (file, folder or name of weights) means; UserError if it is missing."""
    path = find_weights(source)
    path = path / LORA_FILE if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"LoRA {source}: no file {LORA_FILE}")
    return path


def tuned_unet(source: str | Path) -> Path | None:
    """Return the folder of the whole fine-tuned UNet in ``source`` (folder or name of weights), None if it has none."""
    folder = find_weights(source) / UNET_FOLDER
    return folder if folder.is_dir() else None


def generator_digest(generator: Generator) -> str:
    """Return the sha256 that stands for all weights of a generator: names and hashes of its safetensors files."""
    checkpoint, tuned, adapter, adapter_file = generator
    folder = find_weights(checkpoint)
    files = {f"checkpoint/{f.relative_to(folder).as_posix()}": f for f in sorted(folder.rglob("*.safetensors"))}
    if tuned is not None and (unet := tuned_unet(tuned)) is not None:
        files |= {f"unet/{f.relative_to(unet).as_posix()}": f for f in sorted(unet.rglob("*.safetensors"))}
    elif tuned is not None:
        files["lora"] = lora_file(tuned)
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
            parts.append(pipe.vae.encode(pixels.to(pipe.vae.dtype)).latent_dist.mode().float().cpu())
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


def _load_unet(folder: Path) -> Any:
    import torch
    from diffusers import UNet2DConditionModel

    try:
        return UNet2DConditionModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"UNet {folder}: cannot be loaded ({_first_line(error)})") from None


def _quieten() -> None:
    """Keep the libraries' bars over a few small files out of the way of the stages' own bars."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
