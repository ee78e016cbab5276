"""Train an EmbeddingNet to tell people apart: for the shipped recognisers, and for attackers that learn on the job."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pytorch_metric_learning import losses
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from mema.augment import Augmentation, augment
from mema.classifier import as_tensor, fast_bfloat16
from mema.errors import UserError, nearest
from mema.faces.phantom_recogniser import DIMENSION, INPUT_SIZE, EmbeddingNet, load_network


class SphereFaceLoss(losses.SphereFaceLoss):
    """SphereFace as it is trained: the margined cosine is mixed with the plain one, 1 : 5 (1704.08063, λ in §4).

    The logits are scaled by a constant instead of the vector's length (as in «SphereFace Revived», 2109.05565):
    otherwise the loss falls fastest by making vectors short, and a short training ends there.
    """

    plain_share = 5 / 6

    def modify_cosine_of_target_classes(self, cosine_of_target_classes: Tensor) -> Tensor:
        """Return the mixed cosine of each photo's own person."""
        margined = super().modify_cosine_of_target_classes(cosine_of_target_classes)
        return self.plain_share * cosine_of_target_classes + (1 - self.plain_share) * margined

    def scale_logits(self, logits: Tensor, *_: Tensor) -> Tensor:
        """Return the logits of the softmax."""
        return logits * self.scale


class Loss(NamedTuple):
    """A loss on pytorch-metric-learning; ``no_margin`` is the value of its margin that makes it a plain softmax."""

    make: type[nn.Module]
    margin: float
    no_margin: float
    scale: float


LOSSES = {
    "arcface": Loss(losses.ArcFaceLoss, margin=28.6, no_margin=0, scale=32),
    "cosface": Loss(losses.CosFaceLoss, margin=0.35, no_margin=0, scale=32),
    "sphereface": Loss(SphereFaceLoss, margin=4, no_margin=1, scale=32),
}
"""ArcFace (arXiv 1801.07698, degrees), CosFace (1801.09414, cosine), SphereFace (1704.08063, factor).

Margins are the papers'; their scale of 64 is for millions of people.
"""

WARM_UP = 0.3
"""Share of the epochs without the margin: random weights learn little against it."""

AUGMENTATION = Augmentation(shift=0.06, brightness=0.25, contrast=0.25, colour=0.08, noise=0.03, blur=1.0)


def train_recogniser(
    images: np.ndarray,
    people: Sequence[Hashable],
    loss: str = "arcface",
    *,
    init: Path | None = None,
    epochs: int = 12,
    seed: int = 0,
    batch_size: int = 128,
    learning_rate: float = 4e-3,
) -> EmbeddingNet:
    """Train on ``images``, uint8 RGB (N, H, W, 3), of ``people`` (N,); the same seed gives the same bits.

    ``loss`` is one of ``LOSSES``; with ``init`` the weights of an earlier EmbeddingNet are the start (give a smaller
    ``learning_rate``). AdamW, one-cycle learning rate, ``AUGMENTATION``. Raises UserError for an unknown loss or
    fewer than two people.
    """
    names = {person: number for number, person in enumerate(dict.fromkeys(people))}
    if len(names) < 2:
        raise UserError("a recogniser needs photos of at least two people to train on")
    targets = torch.tensor([names[person] for person in people])
    small = shrink(images)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = EmbeddingNet() if init is None else load_network(init)
        criterion = _criterion(loss, len(names))
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW([*network.parameters(), *criterion.parameters()], lr=learning_rate, weight_decay=0.02)
    batch_size = min(batch_size, len(small))
    steps = len(small) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=epochs * steps, pct_start=0.2)
    with tqdm(total=epochs * steps, desc=loss, unit="step") as bar:
        for epoch in range(epochs):
            order = torch.randperm(len(small), generator=generator)
            _set_margin(criterion, LOSSES[loss], warm=epoch < WARM_UP * epochs)
            for rows in order[: steps * batch_size].split(batch_size):
                batch = augment(small[rows].float() / 255, AUGMENTATION, generator)
                with torch.autocast("cpu", torch.bfloat16, enabled=fast_bfloat16()):
                    vectors = network(batch)
                error = criterion(vectors.float(), targets[rows])
                optimizer.zero_grad(set_to_none=True)
                error.backward()
                optimizer.step()
                schedule.step()
                bar.update()
            bar.set_postfix(loss=f"{error.item():.2f}")
    return network.eval()


def shrink(images: np.ndarray, block: int = 256) -> Tensor:
    """Reduce photos to the network's input, uint8 (N, 3, 64, 64): augmenting these costs a quarter of the time."""
    parts = [
        functional.interpolate(as_tensor(images[start : start + block]), (INPUT_SIZE, INPUT_SIZE), mode="area")
        for start in range(0, len(images), block)
    ]
    return (torch.cat(parts) * 255).round().to(torch.uint8)


def _criterion(loss: str, people: int) -> nn.Module:
    if loss not in LOSSES:
        raise UserError(f"unknown recogniser loss '{loss}'{nearest(loss, LOSSES)}")
    chosen = LOSSES[loss]
    return chosen.make(num_classes=people, embedding_size=DIMENSION, margin=chosen.margin, scale=chosen.scale)


def _set_margin(criterion: Any, loss: Loss, *, warm: bool) -> None:
    criterion.margin = loss.no_margin if warm else loss.margin
    criterion.init_margin()
