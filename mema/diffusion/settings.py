"""How to fine-tune a UNet: one model for both methods, LoRA and full.

Settings of the paper (MeMa, Section 3, Step 1, and Implementation Details): LoRA of rank 64, Adam with betas
(0.9, 0.99), learning rate 1e-4 with cosine decay, batch 32, ten epochs.
"""

from __future__ import annotations

from math import ceil, cos, pi
from typing import Literal

from pydantic import Field, model_validator

from mema.config import Config

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


class TrainingSettings(Config):
    """What is trained, on what, how long, and what is watched meanwhile.

    ``method`` "lora" trains low-rank factors of the layers whose names end in ``targets`` (attention alone in the
    paper), "full" every weight of the UNet: about 16 bytes of memory a weight (14 GB for SD v1-5) and, as a rule, a
    tenth of the rate. ``rank`` and ``targets`` are of LoRA alone.

    ``steps`` counts optimiser steps and overrides ``epochs`` (passes over the photos, flips not counted).
    ``caption_dropout`` is the share of captions replaced by the empty one, so that the unconditional half of
    classifier-free guidance follows the fine-tuned model.

    ``face_share`` of the rows also see their own photo's face through the IP-Adapter, at a weight drawn evenly from
    ``face_weight``. The paper trains without; then what the adapter adds is new to the fine-tuned layers when donors
    are injected, and signs suffer.

    ``batch`` photos make a step, however many processes share it; each runs its part in ``accumulate`` pieces, which
    with ``gradient_checkpointing`` trades time for memory and leaves the result as it is, but for rounding.
    ``precision`` "fp16" needs a GPU: on a CPU it is float32.

    ``balance`` "none" draws photos evenly, as the paper does, which does not balance: a common disease is seen more
    often. "disease" draws each disease equally often, and evenly the photos within it. It helps a rare sign to be
    learnt, and its price is that the few photos which carry that sign are repeated: with 20 photos of one disease and
    2,000 of another, each of the 20 is seen a hundred times as often, so it is memorised, and leaks, that much sooner.

    ``held_out`` is the share of *subjects*, with all their photos, to leave out of training; every
    ``evaluate_every`` steps the loss on them is measured under the same noise. ``tracker`` records losses, rate and,
    every ``sample_every`` steps, sample images; ``save_every`` steps the state to resume from is saved.
    """

    method: Literal["lora", "full"] = "lora"
    rank: int = Field(default=64, ge=1)
    targets: tuple[str, ...] = ATTENTION
    learning_rate: float = Field(default=1e-4, gt=0)
    batch: int = Field(default=32, ge=1)
    accumulate: int = Field(default=1, ge=1)
    epochs: float = Field(default=10, gt=0)
    steps: int | None = Field(default=None, ge=1)
    warmup: int = Field(default=0, ge=0)
    flip: bool = True
    caption_dropout: float = Field(default=0.0, ge=0, lt=1)
    face_share: float = Field(default=0.0, ge=0, le=1)
    face_weight: tuple[float, float] = (0.2, 0.4)
    snr_gamma: float | None = Field(default=5.0, gt=0)
    balance: Literal["none", "disease"] = "none"
    precision: Literal["no", "fp16", "bf16"] = "no"
    gradient_checkpointing: bool = False
    held_out: float = Field(default=0.0, ge=0, lt=1)
    evaluate_every: int = Field(default=100, ge=1)
    tracker: Literal["tensorboard", "none"] = "tensorboard"
    sample_every: int = Field(default=500, ge=1)
    save_every: int = Field(default=100, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _divisible(self) -> TrainingSettings:
        if self.batch % self.accumulate:
            raise ValueError(f"a batch of {self.batch} cannot be split in {self.accumulate} equal pieces (accumulate)")
        return self

    def total_steps(self, photos: int) -> int:
        """Return the number of optimiser steps for ``photos`` to train on."""
        return self.steps if self.steps is not None else ceil(self.epochs * photos / self.batch)

    def rate_at(self, step: int, total: int) -> float:
        """Return the rate of step ``step`` (from 0) of ``total``: linear warm-up, then cosine decay to 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, total - self.warmup)
        return self.learning_rate * 0.5 * (1 + cos(pi * done))
