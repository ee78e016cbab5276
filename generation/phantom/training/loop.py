"""The loop that every training script here runs: steps under a progress bar, checkpoints, resumption, an average."""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

CHECKPOINT_SECONDS = 180.0
"""How much work a crash may cost."""


class Average:
    """Exponential moving average of a module's parameters (float32), with the short memory of a young run."""

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.count = 0
        self.values = {name: value.detach().clone().float() for name, value in module.named_parameters()}

    def update(self, module: torch.nn.Module) -> None:
        """Move towards the module's present parameters."""
        import torch

        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        present = [value.detach().float() for _, value in module.named_parameters()]
        torch._foreach_lerp_(list(self.values.values()), present, 1 - decay)

    def apply(self, module: torch.nn.Module) -> None:
        """Put the average into a module of the same shape."""
        module.load_state_dict(self.values, strict=False)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"count": self.count, "values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a checkpoint's average."""
        self.count = int(state["count"])
        for name, value in state["values"].items():
            self.values[name].copy_(value)


def argument_parser(description: str | None, *, steps: int, batch: int, rate: float) -> argparse.ArgumentParser:
    """Return the options that every training script has, with that script's defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rate", type=float, default=rate)
    parser.add_argument("--device", default="auto")
    return parser


def learning_rate(step: int, steps: int, peak: float, warmup: int = 200) -> float:
    """Linear warm-up to ``peak``, then a cosine down to a hundredth of it at the last step."""
    if step < warmup:
        return peak * (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def processes() -> tuple[int, int]:
    """This process's number and how many train together; ``torchrun --nproc-per-node N`` starts N of them."""
    import torch.distributed as distributed

    if "WORLD_SIZE" in os.environ and not distributed.is_initialized():
        distributed.init_process_group("gloo")
    return (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)


def device_of(name: str) -> torch.device:
    """The device called ``name``; "auto" is a GPU where there is one."""
    import torch

    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def train(
    label: str,
    checkpoint: Path,
    parts: dict[str, Any],
    steps: int,
    step: Callable[[int], dict[str, torch.Tensor]],
    export: Callable[[], None],
) -> None:
    """Call ``step(i)`` for i up to ``steps``; every three minutes and at the end keep ``parts`` and call ``export``.

    ``parts`` are what has a ``state_dict``: modules, optimisers, averages. A run that finds ``checkpoint`` goes on
    from it. ``step`` returns losses to show; what it draws must depend on i alone, so that a resumed run draws
    what an uninterrupted one would have.
    """
    import torch
    from tqdm import tqdm

    start = 0
    if checkpoint.exists():
        kept = torch.load(checkpoint, map_location="cpu", weights_only=True)
        start = int(kept.pop("step"))
        for name, state in kept.items():
            parts[name].load_state_dict(state)

    def keep(done: int) -> None:
        if processes()[0] > 0:
            return
        partial = checkpoint.with_suffix(".part")
        torch.save({"step": done, **{name: part.state_dict() for name, part in parts.items()}}, partial)
        partial.replace(checkpoint)
        export()

    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    last = time.monotonic()
    shown: dict[str, float] = {}
    with tqdm(total=steps, initial=start, desc=label, unit="step", mininterval=5, disable=processes()[0] > 0) as bar:
        for index in range(start, steps):
            losses = step(index)
            bar.update()
            if index % 50 < 2:
                shown = _smooth(shown, {name: float(value) for name, value in losses.items()})
                bar.set_postfix({name: f"{value:.4f}" for name, value in shown.items()})
            if time.monotonic() - last > CHECKPOINT_SECONDS:
                keep(index + 1)
                last = time.monotonic()
    keep(steps)


def _smooth(shown: dict[str, float], new: dict[str, float]) -> dict[str, float]:
    return {name: 0.8 * shown.get(name, value) + 0.2 * value for name, value in new.items()}


def optimise(optimiser: torch.optim.Optimizer, loss: torch.Tensor, rate: float, clip: float = 1.0) -> None:
    """One optimiser step at learning rate ``rate``, the gradient averaged over processes and its norm clipped."""
    import torch

    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [p for g in optimiser.param_groups for p in g["params"] if p.grad is not None]
    if processes()[1] > 1:
        flat = torch.cat([p.grad.flatten() for p in parameters])
        torch.distributed.all_reduce(flat)
        pieces = (flat / processes()[1]).split([p.numel() for p in parameters])
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.grad = piece.view_as(parameter)
    torch.nn.utils.clip_grad_norm_(parameters, clip)
    optimiser.step()


def contact_sheet(images: Iterable[Any], columns: int, path: Path) -> None:
    """Save uint8 images (H, W, 3) as one PNG of ``columns`` columns."""
    import numpy as np
    from PIL import Image

    tiles = list(images)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.vstack([row for row in rows if row.shape == rows[0].shape])).save(path)
