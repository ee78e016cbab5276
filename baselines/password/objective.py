"""What the password network is trained for: a stranger, also for other passwords; with the right one the photo."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.password.network import random_passwords
from mema.augment import Augmentation, augment

# A recogniser sees every photo shifted, recoloured, blurred and noisy: neither an imperceptible pattern nor a tint,
# which other recognisers look past, is to deceive it.
SEEN = Augmentation(flip=False, shift=0.03, brightness=0.2, contrast=0.2, colour=0.4, noise=0.03, blur=1.5)

# With more of ``real`` the halo about a turned face stays and less of the photo comes back.
WEIGHTS = {"hidden": 1.0, "wrong": 1.0, "recover": 10.0, "outside": 5.0, "real": 0.1}


class Discriminator(nn.Module):
    """A PatchGAN: float (N, 3, H, W) in [0, 1] to scores (N, 1, H / 8, W / 8), high for photos."""

    def __init__(self, widths: tuple[int, ...] = (24, 48, 64)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *widths), widths, strict=False):
            convolution = nn.Conv2d(inputs, outputs, 4, 2, 1)
            layers += [nn.utils.parametrizations.spectral_norm(convolution), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores."""
        scores: Tensor = self.layers(images * 2 - 1)
        return scores


class Outcome(NamedTuple):
    """Photos, what is published, what the right password gives and a wrong one, each float (N, 3, H, W)."""

    photos: Tensor
    hidden: Tensor
    opened: Tensor
    wrong: Tensor


def play(network: nn.Module, photos: Tensor, generator: torch.Generator) -> Outcome:
    """Hide each photo under a password, open it with that and with another."""
    right, other = (random_passwords(len(photos), generator).to(photos.device) for _ in range(2))
    return Outcome(photos, *network(photos, right, other))


def losses(
    outcome: Outcome, recogniser: nn.Module, discriminator: nn.Module, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the terms that the network is to make small; ``WEIGHTS`` says how much each counts.

    ``hidden`` and ``wrong`` are cosines to the original (a stranger's is 0), ``recover`` the mean difference of what
    the right password opens, ``outside`` what clipping takes from all that was drawn, ``real`` what the discriminator
    says of what is published.
    """
    photos, hidden, opened, wrong = outcome
    drawn = torch.cat([hidden, opened, wrong])
    seen = augment(torch.cat([photos, hidden, wrong]).clamp(0, 1), SEEN, generator)
    true, made, stranger = functional.normalize(recogniser(seen).float(), dim=1).chunk(3)
    return {
        "hidden": functional.relu((true * made).sum(1)).mean(),
        "wrong": functional.relu((true * stranger).sum(1)).mean(),
        "recover": (opened - photos).abs().mean(),
        "outside": (drawn - drawn.clamp(0, 1)).abs().mean(),
        "real": -discriminator(hidden).mean(),
    }


def discriminator_loss(discriminator: nn.Module, outcome: Outcome) -> Tensor:
    """Return the hinge loss of photos against what is published."""
    real, made = discriminator(torch.cat([outcome.photos, outcome.hidden.detach()])).chunk(2)
    return functional.relu(1 - real).mean() + functional.relu(1 + made).mean()
