"""The six losses, by hand, and whom each of the two descents moves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from baselines.medsem_deid.losses import Round, discriminator_loss, generator_losses, weighted
from baselines.medsem_deid.settings import LossSettings


class Mean(nn.Module):
    """A discriminator whose score is the mean."""

    def forward(self, images):
        return images.mean(dim=(1, 2, 3), keepdim=True)


def flat(value: float) -> torch.Tensor:
    return torch.full((2, 3, 4, 4), value)


def first_two_channels(images):
    """A recogniser that reads the means of red and green."""
    return images[:, :2].mean(dim=(2, 3))


@pytest.fixture
def made() -> Round:
    """Red photos; encrypted to green, recovered red, opened wrongly to cyan less red."""
    red, green, opposite = flat(0.0), flat(0.0), flat(0.0)
    red[:, 0], green[:, 1], opposite[:, 0] = 0.5, 0.5, -0.5
    return Round(red, green, red + 0.125, opposite, torch.zeros(2, 4), torch.full((2, 4), 0.5))


def test_each_is_what_the_paper_says(made):
    losses = {k: float(v) for k, v in generator_losses(made, first_two_channels, Mean(), LossSettings()).items()}
    assert losses["deidentify"] == pytest.approx(0, abs=1e-6)
    assert losses["recover_identity"] == pytest.approx(-0.625 / (0.625**2 + 0.125**2) ** 0.5)
    assert losses["wrong"] == pytest.approx(-1)
    assert losses["medical"] == pytest.approx(0.25)
    assert losses["recover"] == pytest.approx(0.125)
    # Means of green, recovered red and the opposite: 1/6, 1/6 + 1/8, -1/6.
    assert losses["adversarial"] == pytest.approx(-(1 / 6 + 1 / 6 + 1 / 8 - 1 / 6) / 3)


def test_an_identity_below_the_floor_counts_as_gone(made):
    losses = generator_losses(made, first_two_channels, Mean(), LossSettings(floor=0.0))
    assert float(losses["wrong"]) == 0


def test_the_sum_is_weighted(made):
    losses = generator_losses(made, first_two_channels, Mean(), LossSettings())
    names = ("deidentify", "recover_identity", "wrong", "medical", "recover", "adversarial")
    assert tuple(losses) == names
    paper = float(weighted(losses, LossSettings()))
    assert paper == pytest.approx(sum(float(losses[n]) * w for n, w in zip(names, (1, 1, 1, 5, 0.1, 1), strict=True)))
    without = float(weighted(losses, LossSettings(medical=0)))
    assert paper - without == pytest.approx(5 * 0.25)


def test_the_discriminator_moves_nobody_else(made):
    encrypted = made.encrypted.clone().requires_grad_()
    scale = nn.Parameter(torch.tensor(1.0))
    loss = discriminator_loss(made._replace(encrypted=encrypted), lambda images: scale * Mean()(images))
    # Real photos score 1/6, the fakes as above: hinges 1 - 1/6 and the mean of 1 + score.
    assert float(loss.detach()) == pytest.approx(1 - 1 / 6 + 1 + (1 / 6 + 1 / 6 + 1 / 8 - 1 / 6) / 3)
    loss.backward()
    assert scale.grad is not None and encrypted.grad is None
