"""The training objective of every diffusion model here: denoising with min-SNR weights.

One function, shared by the training of ``phantom-sd`` and by LoRA fine-tuning (MeMa, Section 3, Step 1), so that both
agree on what the scheduler's ``prediction_type`` means. Weights: Hang et al., "Efficient Diffusion Training via
Min-SNR Weighting Strategy" (2023), Section 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mema.diffusion.donors import donor_arguments
from mema.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def draw_noise(scheduler: Any, shape: Sequence[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return uniform time steps, int64 (N,), and noise, float32 of ``shape`` (N, C, h, w), on its device."""
    import torch

    steps = int(scheduler.config.num_train_timesteps)
    timesteps = torch.randint(steps, (shape[0],), generator=generator, device=generator.device)
    return timesteps, torch.randn(tuple(shape), generator=generator, device=generator.device)


def denoising_loss(
    unet: torch.nn.Module,
    scheduler: Any,
    latents: Tensor,
    text: Tensor,
    timesteps: Tensor,
    noise: Tensor,
    *,
    image_embeds: Tensor | None = None,
    image_weights: Tensor | None = None,
    snr_gamma: float | None = 5.0,
) -> Tensor:
    """Return the mean over the batch of each sample's weighted denoising error, a scalar in float32.

    ``latents`` (N, C, h, w) are already multiplied by the VAE's scaling factor; ``text`` (N, tokens, D) are the text
    encoder's last hidden states; ``timesteps`` (N,) and ``noise`` (N, C, h, w), of any device, say how each sample is
    spoilt; ``image_embeds`` (N, E) are the image encoder's projections, for a UNet that carries an IP-Adapter, and
    ``image_weights`` (N,) scale what it adds to each sample, by default as the adapter is set.
    ``scheduler`` is any diffusers scheduler with ``alphas_cumprod``; its ``prediction_type`` says what the UNet
    predicts: "epsilon" or "v_prediction" (others raise UserError). ``snr_gamma=None`` weighs all time steps alike.
    """
    import torch

    timesteps, noise = timesteps.to(latents.device), noise.to(latents.device, latents.dtype)
    alphas = scheduler.alphas_cumprod.to(latents.device)[timesteps].float()
    signal, sigma = alphas.sqrt().view(-1, 1, 1, 1), (1 - alphas).sqrt().view(-1, 1, 1, 1)
    noisy = (signal * latents + sigma * noise).to(latents.dtype)

    snr = alphas / (1 - alphas)
    weight = torch.ones_like(snr) if snr_gamma is None else snr.clamp(max=snr_gamma)
    prediction_type = scheduler.config.prediction_type
    if prediction_type == "epsilon":
        target = noise
        weight = weight if snr_gamma is None else weight / snr
    elif prediction_type == "v_prediction":
        target = signal * noise - sigma * latents
        weight = weight if snr_gamma is None else weight / (snr + 1)
    else:
        raise UserError(f"cannot train a model whose prediction_type is {prediction_type!r}")

    conditions = {} if image_embeds is None else donor_arguments(image_embeds, image_weights, latents.shape[-1])
    predicted = unet(noisy, timesteps, encoder_hidden_states=text, **conditions).sample
    error = (predicted.float() - target.float()).square().mean(dim=(1, 2, 3))
    return (weight * error).mean()
