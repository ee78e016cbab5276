"""Enc_med, the frozen encoder of medical semantics: first blocks of a diffusion UNet, of a ViT or of an MAE."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.medsem_deid.settings import EncoderSettings
from mema.diffusion.checkpoint import Generator, encode_prompts, generator_digest, load_pipeline
from mema.errors import UserError
from mema.files import read_json
from mema.weights import digest, find_weights

NOISE_SEED = 0


class DiffusionSemantics(nn.Module):
    """The VAE's encoder and the first ``blocks`` down blocks of a UNet, at one time step under one noise.

    ``forward`` takes float (N, 3, H, W) in [-1, 1] and returns float (N, ``channels``, h, w): of Stable Diffusion's
    first block 320 channels at H/16. The noise is a function of place alone, so f_med of equal photos is equal and its
    difference between two photos is theirs.
    """

    text: Tensor
    time: Tensor

    def __init__(self, pipe: Any, settings: EncoderSettings) -> None:
        super().__init__()
        unet, vae = pipe.unet, pipe.vae
        if settings.blocks > len(unet.down_blocks):
            raise UserError(f"encoder: blocks {settings.blocks} of a UNet that has {len(unet.down_blocks)}")
        self.channels = int(unet.config.block_out_channels[settings.blocks - 1])
        self.vae_encoder, self.quantise = vae.encoder, vae.quant_conv
        self.shift = float(vae.config.get("shift_factor") or 0)
        self.scale = float(vae.config.scaling_factor)
        self.convolution = unet.conv_in
        self.blocks = nn.ModuleList(unet.down_blocks[: settings.blocks])
        text = encode_prompts(pipe, [settings.prompt])[settings.prompt]
        step = torch.tensor([settings.noise_step], device=text.device)
        with torch.no_grad():
            time = unet.time_embedding(unet.time_proj(step).to(unet.dtype))
        alpha = float(pipe.scheduler.alphas_cumprod[settings.noise_step])
        self.signal, self.noise = alpha**0.5, (1 - alpha) ** 0.5
        self.register_buffer("text", text[None].clone(), persistent=False)
        self.register_buffer("time", time.clone(), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return f_med of ``images``."""
        moments = self.vae_encoder(images)
        if self.quantise is not None:
            moments = self.quantise(moments)
        latents = (moments.chunk(2, dim=1)[0].float() - self.shift) * self.scale
        generator = torch.Generator().manual_seed(NOISE_SEED)
        noise = torch.randn(latents.shape[1:], generator=generator, device="cpu").to(latents.device)
        features = self.convolution(self.signal * latents + self.noise * noise)
        time, text = self.time.expand(len(images), -1), self.text.expand(len(images), -1, -1)
        for block in self.blocks:
            if getattr(block, "has_cross_attention", False):
                features, _ = block(features, temb=time, encoder_hidden_states=text)
            else:
                features, _ = block(features, temb=time)
        return features


class VisionSemantics(nn.Module):
    """The first ``blocks`` layers of a ViT or of an MAE's encoder, which then sees every patch.

    ``forward`` takes float (N, 3, H, W) in [-1, 1], which are resized to the model's size and normalised as its
    ``preprocessor_config.json`` says (without one: to [-1, 1]), and returns float (N, ``channels``, h, w).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, settings: EncoderSettings, normalisation: Mapping[str, Any]) -> None:
        super().__init__()
        config: Any = model.config
        if settings.blocks > config.num_hidden_layers:
            raise UserError(f"encoder: blocks {settings.blocks} of a model that has {config.num_hidden_layers}")
        self.channels = int(config.hidden_size)
        self.model, self.layer = model, settings.blocks
        self.size, self.side = int(config.image_size), int(config.image_size) // int(config.patch_size)
        # An MAE shuffles the patches by this noise before it drops some; ascending noise leaves their order.
        self.inputs = {"noise": torch.arange(self.side**2).float()[None]} if settings.kind == "mae" else {}
        for name in ("mean", "std"):
            value = torch.tensor(normalisation.get(f"image_{name}", [0.5] * 3)).view(1, 3, 1, 1)
            self.register_buffer(name, value, persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return f_med of ``images``."""
        side = (self.size, self.size)
        pixels = functional.interpolate((images + 1) / 2, side, mode="bilinear", antialias=True, align_corners=False)
        extra = {name: value.to(images.device).expand(len(images), -1) for name, value in self.inputs.items()}
        states = self.model((pixels - self.mean) / self.std, output_hidden_states=True, **extra).hidden_states
        places = states[self.layer][:, 1:].transpose(1, 2)
        return places.reshape(len(images), self.channels, self.side, self.side)


def load_semantics(settings: EncoderSettings, *, device: str = "cpu") -> DiffusionSemantics | VisionSemantics:
    """Load Enc_med, frozen, float32; UserError when weights are missing or are not what ``settings.kind`` says."""
    if settings.kind == "diffusion":
        pipe = load_pipeline(Generator(settings.weights, settings.tuned), device="cpu")
        return DiffusionSemantics(pipe, settings).to(device)
    folder = find_weights(settings.weights)
    file = folder / "preprocessor_config.json"
    return VisionSemantics(
        load_vision_model(folder, settings.kind), settings, read_json(file) if file.is_file() else {}
    ).to(device)


def load_vision_model(folder: Path, kind: str) -> Any:
    """Return the ViT ("vit") or the encoder of the MAE ("mae") that lies in ``folder``; UserError if none does."""
    from transformers import ViTMAEModel, ViTModel, logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        if kind == "mae":
            return ViTMAEModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, mask_ratio=0.0)
        return ViTModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, add_pooling_layer=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"encoder {folder}: not a {kind} ({str(error).strip().splitlines()[0][:200]})") from None


def semantics_digest(settings: EncoderSettings) -> str:
    """Return the sha256 that stands for Enc_med's weights: a model trained beside one is useless beside another."""
    if settings.kind == "diffusion":
        return generator_digest(Generator(settings.weights, settings.tuned))
    return digest(find_weights(settings.weights))
