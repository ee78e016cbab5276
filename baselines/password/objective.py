"""What the password network is trained for: another identity, and a stranger for whoever has another password."""

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

WEIGHTS = {"hidden": 3.0, "wrong": 2.0, "alike": 4.0, "smooth": 10.0, "outside": 5.0, "real": 0.2}


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
    """Photos, what is published and what a wrong password gives, each float (N, 3, H, W)."""

    photos: Tensor
    hidden: Tensor
    wrong: Tensor


def play(network: nn.Module, photos: Tensor, generator: torch.Generator) -> Outcome:
    """Hide each photo under a password and open it with another."""
    right, other = (random_passwords(len(photos), generator).to(photos.device) for _ in range(2))
    return Outcome(photos, *network(photos, right, other))


def losses(
    outcome: Outcome, recogniser: nn.Module, discriminator: nn.Module, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the terms that the network is to make small; ``WEIGHTS`` says how much each counts.

    ``hidden`` and ``wrong`` are cosines to the original (a stranger's is 0), ``alike`` keeps light, hair and
    background (means of 8x8 px), ``smooth`` bars patterns that deceive a network and no person, ``outside`` is what
    clipping would take from the recovered image. That the right password recovers needs no term.
    """
    photos, hidden, wrong = outcome
    seen = augment(torch.cat([photos, hidden, wrong]).clamp(0, 1), SEEN, generator)
    true, made, stranger = functional.normalize(recogniser(seen).float(), dim=1).chunk(3)
    change = hidden - photos
    return {
        "hidden": functional.relu((true * made).sum(1)).mean(),
        "wrong": functional.relu((true * stranger).sum(1)).mean(),
        "alike": functional.avg_pool2d(change, 8).abs().mean(),
        "smooth": change.diff(dim=2).abs().mean() + change.diff(dim=3).abs().mean(),
        "outside": (hidden - hidden.clamp(0, 1)).abs().mean(),
        "real": -discriminator(torch.cat([hidden, wrong])).mean(),
    }


def discriminator_loss(discriminator: nn.Module, outcome: Outcome) -> Tensor:
    """Return the hinge loss of photos against what the network drew."""
    real, made = discriminator(torch.cat([outcome.photos, outcome.hidden.detach()])).chunk(2)
    return functional.relu(1 - real).mean() + functional.relu(1 + made).mean()
