"""The six losses of MedSem-DeID (MeMa, §4, Learning Objectives) and the discriminator's."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.medsem_deid.identity import cosine
from baselines.medsem_deid.settings import LossSettings


class Round(NamedTuple):
    """What a photo becomes: ``original``, ``encrypted``, ``recovered`` by the right password and ``wrong`` by another,
    float (N, 3, S, S) in [-1, 1]; ``medical`` and ``medical_encrypted`` are f_med of the first two."""

    original: Tensor
    encrypted: Tensor
    recovered: Tensor
    wrong: Tensor
    medical: Tensor
    medical_encrypted: Tensor


def generator_losses(
    made: Round, identify: Callable[[Tensor], Tensor], discriminator: nn.Module, settings: LossSettings
) -> dict[str, Tensor]:
    """Return the six losses by name, unweighted, each a scalar.

    ``identify`` maps images in [-1, 1] to phi's vectors. «deidentify», «recover_identity» and «wrong» are cosines to
    the original (the second negative), the first and the last not below ``settings.floor``; «medical» is the mean
    square of f_med's change, «recover» the mean absolute error of the recovered image in [-1, 1], «adversarial» the
    hinge GAN's loss of all three pictures.
    """
    vectors = identify(torch.cat([made.original, made.encrypted, made.recovered, made.wrong])).chunk(4)
    own = vectors[0].detach()
    encrypted, recovered, wrong = (cosine(own, vector) for vector in vectors[1:])
    return {
        "deidentify": encrypted.clamp(min=settings.floor).mean(),
        "recover_identity": -recovered.mean(),
        "wrong": wrong.clamp(min=settings.floor).mean(),
        "medical": functional.mse_loss(made.medical_encrypted.float(), made.medical.float(), reduction="sum")
        / max(1, made.medical.numel()),
        "recover": functional.l1_loss(made.recovered, made.original),
        "adversarial": -discriminator(torch.cat([made.encrypted, made.recovered, made.wrong])).float().mean(),
    }


def weighted(losses: dict[str, Tensor], settings: LossSettings) -> Tensor:
    """Return the sum of ``losses`` under the weights of the same names."""
    return sum((getattr(settings, name) * loss for name, loss in losses.items()), start=losses["recover"].new_zeros(()))


def discriminator_loss(made: Round, discriminator: nn.Module) -> Tensor:
    """Return the hinge loss by which the discriminator learns to tell photos from the three pictures."""
    pictures = torch.cat([made.original, made.encrypted, made.recovered, made.wrong]).detach()
    scores = discriminator(pictures).float()
    real, fake = scores[: len(made.original)], scores[len(made.original) :]
    return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
