"""What the tests of training share: a few encoded photos, settings that take seconds, and one way to run them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mema.diffusion.checkpoint import Generator, encode_latents, encode_prompts, load_pipeline
from mema.diffusion.settings import TrainingSettings
from mema.diffusion.state import Curves
from mema.diffusion.training import Photos, train


@pytest.fixture(scope="session")
def settings() -> TrainingSettings:
    return TrainingSettings(
        rank=4, batch=4, steps=6, save_every=2, learning_rate=1e-2, caption_dropout=0.2, tracker="none", seed=3
    )


@pytest.fixture(scope="session")
def photos(tiny_generator: Path) -> Photos:
    """Two photos of each of three subjects, in two views: latents (6, 2, 4, 16, 16), texts (3, 64, 16)."""
    pipe = load_pipeline(Generator(tiny_generator / "sd"), device="cpu")
    images = np.random.default_rng(1).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    latents = torch.stack([encode_latents(pipe, images), encode_latents(pipe, images[:, :, ::-1])], dim=1)
    texts = torch.stack(list(encode_prompts(pipe, ["", "ptosis", "scc"]).values()))
    return Photos(latents, [1, 2, 1, 2, 1, 2], texts, [0, 0, 1, 1, 2, 2])


@pytest.fixture(scope="session")
def run(tiny_generator: Path, photos: Photos) -> Callable[..., Curves]:
    """A training of the tiny generator that writes below ``folder``."""

    def run(folder: Path, settings: TrainingSettings, *, pipe: Any = None, fingerprint: str = "a", **keywords: Any):
        pipe = pipe or load_pipeline(Generator(tiny_generator / "sd"), device="cpu")
        places = {"output": folder / "output", "private": folder / "private"}
        return train(pipe, photos, settings, fingerprint=fingerprint, **places, **keywords)

    return run


@pytest.fixture
def kill_at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Make training die at a step, once; the list it returns holds the steps that were begun."""
    from mema.diffusion import training

    def kill_at_step(fatal: int) -> list[int]:
        begun: list[int] = []
        draw_batch = training.draw_batch

        def dies(settings: TrainingSettings, step: int, *arguments: Any) -> Any:
            begun.append(step)
            if step == fatal and begun.count(step) == 1:
                raise KeyboardInterrupt
            return draw_batch(settings, step, *arguments)

        monkeypatch.setattr(training, "draw_batch", dies)
        return begun

    return kill_at_step
