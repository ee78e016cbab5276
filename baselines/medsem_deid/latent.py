"""MedSem-DeID in the latents of a generator (ours): what a password does is there before anything is learnt.

The paper's image encoder and decoder are learnt from nothing, which takes a GPU days. Here a generator's frozen VAE is
the outer part of both. A face is well described by a few principal components of its latents, which are about normally
distributed: another sign of each is another face. So ID-Encryptor gives the components the signs of the password, and
ID-Decryptor takes them back; the networks round about, trained by the paper's losses, start as the identity.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.medsem_deid.networks import Fusion, MedSemNetwork, PasswordTransformer, Residual, to_signal
from baselines.medsem_deid.settings import NetworkSettings
from mema.diffusion.checkpoint import Generator, generator_digest, load_pipeline
from mema.errors import UserError

FROZEN = "vae."
"""Of the parameters' names, what those begin with that are the generator's."""
BATCH = 64


class LatentMedSem(nn.Module):
    """The same as :class:`MedSemNetwork`, beside the VAE of ``settings.latents``, an ``AutoencoderKL``.

    A token is a square of ``settings.patch`` pixels. ``mean`` and ``basis``, float32 (T,) and (K, T), are the mean and
    the first K = ``settings.password_code`` principal components of photos' T latents, in the order of the tokens.
    Pictures are not clamped to [-1, 1]. ValueError when a token holds no whole latents.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, settings: NetworkSettings, medical_channels: int, vae: Any) -> None:
        super().__init__()
        factor = 2 ** (len(vae.config.block_out_channels) - 1)
        if settings.patch % factor:
            raise ValueError(
                f"a patch of {settings.patch} pixels is no multiple of {factor}, which a latent stands for"
            )
        self.medical_channels = medical_channels
        self.grid, self.fold = settings.size // settings.patch, settings.patch // factor
        self.vae = vae.requires_grad_(False).eval()
        self.shift, self.scale = float(vae.config.get("shift_factor") or 0), float(vae.config.scaling_factor)
        width, self.channels = settings.widths[-1], vae.config.latent_channels * self.fold**2
        numbers = self.channels * self.grid**2
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("basis", torch.zeros(settings.password_code, numbers))
        self.fusion = Fusion(self.channels, width, medical_channels if settings.medical else 0)
        self.encryptor = _Change(self.channels, width, self.grid**2, settings)
        self.decryptor = _Change(self.channels, width, self.grid**2, settings)
        self.decoder = nn.Sequential(
            Residual(self.channels, width), Residual(width, width), nn.SiLU(), _nothing(width, self.channels)
        )

    def fit(self, images: np.ndarray, *, mirrored: bool) -> None:
        """Make ``mean`` and ``basis`` those of ``images``, uint8 (N, S, S, 3), if ``mirrored`` of both their sides.

        UserError when there are not more of them than components.
        """
        views = [images, images[:, :, ::-1]] if mirrored else [images]
        with torch.no_grad():
            blocks = (view[start : start + BATCH] for view in views for start in range(0, len(view), BATCH))
            signals = (to_signal(torch.from_numpy(block.copy())).to(self.mean.device) for block in blocks)
            numbers = torch.cat([self._tokens(signal).flatten(1) for signal in signals]).double().cpu()
        count = len(self.basis)
        if len(numbers) <= count:
            raise UserError(f"medsem: network.password_code {count} needs more than {count} photos, not {len(numbers)}")
        mean = numbers.mean(dim=0)
        _, vectors = torch.linalg.eigh((numbers - mean).T @ (numbers - mean))
        self.mean.copy_(mean)
        self.basis.copy_(vectors[:, -count:].flip(1).T)

    def encrypt(self, images: Tensor, medical: Tensor, password: Tensor) -> Tensor:
        """Return the de-identified images X_enc."""
        return self._show(self.encryptor, self.read(images, medical), password)

    def decrypt(self, features: Tensor, password: Tensor) -> Tensor:
        """Return what ``password`` opens in the ``features`` that :meth:`read` gave of de-identified images."""
        return self._show(self.decryptor, features, password)

    def read(self, images: Tensor, medical: Tensor) -> Tensor:
        """Return the latents of ``images``, and f, made of them and their own f_med ``medical``: (N, C, h, w)."""
        tokens = self._tokens(images)
        return torch.cat([tokens, self.fusion(tokens, medical)], dim=1)

    def redrawn(self, images: Tensor) -> Tensor:
        """Return what the VAE alone makes of ``images``, both float32 (N, 3, S, S): no password, no other network."""
        latents = self.vae.encode(images).latent_dist.mode()
        return self.vae.decode(latents).sample.float()

    def turn(self, tokens: Tensor, password: Tensor) -> Tensor:
        """Give the principal components of ``tokens`` (N, C, h, w) signs of ``password``: twice is not at all."""
        with torch.autocast(tokens.device.type, enabled=False):
            numbers = tokens.float().flatten(1)
            components = (numbers - self.mean) @ self.basis.T
            changed = components * (password[:, : len(self.basis)] - 1)
            return (numbers + changed @ self.basis).view_as(tokens)

    def _show(self, change: nn.Module, features: Tensor, password: Tensor) -> Tensor:
        tokens, fused = features.split([self.channels, features.shape[1] - self.channels], dim=1)
        turned = self.turn(tokens, password)
        tokens = turned + change(torch.cat([turned, fused], dim=1), password)
        latents = functional.pixel_shuffle(tokens + self.decoder(tokens), self.fold)
        return self.vae.decode(latents / self.scale + self.shift).sample.float()

    def _tokens(self, images: Tensor) -> Tensor:
        latents = self.vae.encode(images).latent_dist.mode().float()
        return functional.pixel_unshuffle((latents - self.shift) * self.scale, self.fold)


class _Change(nn.Module):
    """What a Transformer that knows the password adds to tokens; nothing at first.

    (N, C + width, h, w) and (N, 512) -> (N, C, h, w).
    """

    def __init__(self, channels: int, width: int, places: int, settings: NetworkSettings) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels + width, width, 1)
        self.mix = PasswordTransformer(width, places, settings)
        self.leave = _nothing(width, channels)

    def forward(self, features: Tensor, password: Tensor) -> Tensor:
        return self.leave(self.mix(self.enter(features), password)).float()


def _nothing(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a layer that gives 0 until it has learnt better."""
    layer = nn.Conv2d(inputs, outputs, 3, 1, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def build_network(settings: NetworkSettings, medical_channels: int, seed: int = 0) -> MedSemNetwork | LatentMedSem:
    """Return the untrained networks of ``settings``, on the CPU, the same for the same ``seed``.

    UserError when the generator that they are to be beside is missing or does not fit.
    """
    vae = None if settings.latents is None else load_pipeline(Generator(settings.latents), device="cpu").vae
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if vae is None:
            return MedSemNetwork(settings, medical_channels)
        try:
            return LatentMedSem(settings, medical_channels, vae)
        except ValueError as error:
            raise UserError(f"medsem: network: {error}") from None


def latents_digest(settings: NetworkSettings) -> str:
    """Return the sha256 that stands for the generator's weights; empty where none is used."""
    return "" if settings.latents is None else generator_digest(Generator(settings.latents))
