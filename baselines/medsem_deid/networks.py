"""The de-identifier's networks (MeMa, §4, Fig 5) and the discriminator that judges its pictures.

All are free of batch statistics: what becomes of a photo depends on no other.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.medsem_deid.passwords import DIMENSION
from baselines.medsem_deid.settings import NetworkSettings


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, channels // 16), channels)


class Residual(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016), normalised in groups."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(1, inputs),
            nn.SiLU(),
            nn.Conv2d(inputs, outputs, 3, 1, 1),
            _norm(outputs),
            nn.SiLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1),
        )
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return float (N, ``outputs``, h, w) of float (N, ``inputs``, h, w)."""
        return self.shortcut(features) + self.body(features)


class _Enlarge(nn.Sequential):
    """A convolution whose channels become ``factor`` x ``factor`` pixels, which start out equal (no checkerboard)."""

    def __init__(self, inputs: int, outputs: int, factor: int) -> None:
        pixels = factor**2
        convolution = nn.Conv2d(inputs, outputs * pixels, 3, 1, 1)
        with torch.no_grad():
            for value in convolution.parameters():
                value.copy_(value[::pixels].repeat_interleave(pixels, dim=0))
        super().__init__(convolution, nn.PixelShuffle(factor))


class PasswordTransformer(nn.Module):
    """Transformer layers over the places of a feature map and a password: (N, C, h, w) and (N, 512) -> (N, C, h, w)."""

    def __init__(self, width: int, places: int, settings: NetworkSettings) -> None:
        super().__init__()
        self.tokens, self.added = settings.password_tokens, settings.password_added
        self.password = nn.Linear(DIMENSION, width * self.tokens)
        self.position = nn.Parameter(torch.randn(places, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, settings.heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, settings.layers, enable_nested_tensor=False)

    def forward(self, features: Tensor, password: Tensor) -> Tensor:
        """Return ``features``, mixed with one another and with ``password``."""
        count, width, height, breadth = features.shape
        places = features.flatten(2).transpose(1, 2) + self.position
        secret = self.password(password).view(count, self.tokens, width)
        if self.added:
            places = places + secret[:, :1]
        mixed = self.layers(torch.cat([secret, places], dim=1))[:, self.tokens :]
        return mixed.transpose(1, 2).reshape(count, width, height, breadth)


class Fusion(nn.Sequential):
    """Three residual blocks over features beside f_med, resized to their grid, where ``medical_channels`` is not 0."""

    def __init__(self, inputs: int, width: int, medical_channels: int) -> None:
        super().__init__(Residual(inputs + medical_channels, width), Residual(width, width), Residual(width, width))
        self.medical = medical_channels > 0

    def forward(self, face: Tensor, medical: Tensor) -> Tensor:  # type: ignore[override]
        """Return f, float (N, ``width``, h, w), of features (N, ``inputs``, h, w) and f_med of any h and w."""
        if self.medical:
            semantics = functional.interpolate(medical.to(face.dtype), size=face.shape[-2:], mode="area")
            face = torch.cat([face, semantics], dim=1)
        return super().forward(face)


class MedSemNetwork(nn.Module):
    """Image encoder, fusion, ID-Encryptor, ID-Decryptor and the image decoder that both share.

    ``medical_channels`` is that of f_med. Images are float (N, 3, S, S) in [-1, 1] with S = ``settings.size``;
    passwords (N, 512); f_med (N, ``medical_channels``, h, w) of any h and w, resized to the tokens' grid.
    """

    def __init__(self, settings: NetworkSettings, medical_channels: int) -> None:
        super().__init__()
        widths, patch = settings.widths, settings.patch
        self.medical_channels = medical_channels
        self.grid = settings.size // settings.stride
        layers: list[nn.Module] = [nn.PixelUnshuffle(patch), nn.Conv2d(3 * patch**2, widths[0], 3, 1, 1)]
        for inputs, outputs in itertools.pairwise(widths):
            layers += [Residual(inputs, inputs), nn.Conv2d(inputs, outputs, 3, 2, 1)]
        self.encoder = nn.Sequential(*layers)
        width = widths[-1]
        self.fusion = Fusion(width, width, medical_channels if settings.medical else 0)
        self.encryptor = PasswordTransformer(width, self.grid**2, settings)
        self.decryptor = PasswordTransformer(width, self.grid**2, settings)
        layers = [Residual(width, width)]
        for inputs, outputs in zip(widths[::-1], widths[-2::-1], strict=False):
            layers += [_Enlarge(inputs, outputs, 2), Residual(outputs, outputs)]
        layers += [_norm(widths[0]), nn.SiLU(), _Enlarge(widths[0], 3, patch)]
        self.decoder = nn.Sequential(*layers)

    def encrypt(self, images: Tensor, medical: Tensor, password: Tensor) -> Tensor:
        """Return the de-identified images X_enc."""
        return self._decode(self.encryptor(self.read(images, medical), password))

    def decrypt(self, features: Tensor, password: Tensor) -> Tensor:
        """Return what ``password`` opens in the ``features`` that :meth:`read` gave of de-identified images.

        So nothing but the pixels of X_enc is used: f_enc is what the image encoder reads from them.
        """
        return self._decode(self.decryptor(features, password))

    def read(self, images: Tensor, medical: Tensor) -> Tensor:
        """Return the features f of ``images`` whose own f_med is ``medical``, (N, C, h, w)."""
        return self.fusion(self.encoder(images), medical)

    def _decode(self, features: Tensor) -> Tensor:
        return torch.tanh(self.decoder(features).float())


class PatchDiscriminator(nn.Module):
    """PatchGAN: says of each patch how like a photo's it is; images (N, 3, S, S) -> (N, 1, h, w)."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        first, *rest = settings.discriminator
        fold = min(max(1, settings.patch // 2), 2)
        layers: list[nn.Module] = [
            nn.PixelUnshuffle(fold),
            nn.Conv2d(3 * fold**2, first, 4, 2, 1),
            nn.LeakyReLU(0.2),
        ]
        for inputs, outputs in zip(settings.discriminator, rest, strict=False):
            layers += [
                nn.Conv2d(inputs, outputs, 4, 2, 1),
                nn.InstanceNorm2d(outputs, affine=True),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(settings.discriminator[-1], 1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return a score for each patch of ``images``; a real photo's is to be above 1, another's below -1."""
        return self.layers(images)


def to_signal(images: Tensor) -> Tensor:
    """Turn uint8 (N, H, W, 3) into float32 (N, 3, H, W) in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(signal: Tensor) -> Tensor:
    """Turn float (N, 3, H, W) in [-1, 1] into uint8 (N, H, W, 3)."""
    return ((signal.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def as_saved(signal: Tensor) -> Tensor:
    """Round ``signal`` to what 8 bits hold; gradients pass as if it were not: recovery is from files."""
    rounded = (((signal + 1) * 127.5).round().clamp(0, 255) / 127.5) - 1
    return signal + (rounded - signal).detach()
