"""Reconstruct, then recognise: a network learns to paint the clear photo from the de-identified one (ALGORITHMS §7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from benchmark.attacks.material import Learning, Target
from benchmark.attacks.protocol import Column
from benchmark.config import BenchmarkConfig
from benchmark.tracks.identity import identification

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mema.faces.phantom_recogniser import EmbeddingNet

WIDTHS = (24, 48, 96)
BATCH = 16
LEARNING_RATE = 2e-3


class Reconstruction:
    """Paints at the recogniser's own resolution and reads the painting as a naive attacker does."""

    columns: ClassVar[dict[str, Column]] = {
        "reconstruction": Column("reconstruct, then recognise", ("blur", "pixelate"))
    }

    def __init__(self, learning: Learning, config: BenchmarkConfig) -> None:
        from mema.faces.phantom_recogniser import load_network
        from mema.weights import locate

        self.recogniser = load_network(locate(config.ladder.recogniser)).requires_grad_(False)
        self.painter = train_painter(
            learning, self.recogniser, epochs=config.ladder.reconstruction_epochs, seed=config.seed
        )

    def trace(self, target: Target) -> dict[str, np.ndarray]:
        """Return the column ``reconstruction``."""
        from mema.faces.phantom_recogniser import embed_with

        probes = embed_with(self.recogniser, self.paint(target.probes))
        gallery = embed_with(self.recogniser, target.gallery)
        return {"reconstruction": identification(probes, gallery, target.subjects, target.subjects)}

    def paint(self, images: np.ndarray) -> np.ndarray:
        """Return what de-identified ``images``, uint8 (N, H, W, 3), may have shown, uint8 (N, 64, 64, 3)."""
        import torch

        from mema.faces.training import shrink

        with torch.inference_mode():
            painted = [self.painter(batch.float() / 255) for batch in shrink(images).split(BATCH)]
        pixels: np.ndarray = (torch.cat(painted) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        return pixels


def train_painter(learning: Learning, recogniser: EmbeddingNet, *, epochs: int, seed: int) -> nn.Module:
    """Train a U-Net from ``learning.deidentified`` to ``learning.clear``; the same seed gives the same bits.

    The loss is the absolute error plus one minus the cosine of the recogniser's vectors, so that it paints a person and
    not a blur. AdamW, one-cycle learning rate.
    """
    import torch
    from torch.nn import functional
    from tqdm import tqdm

    from mema.classifier import fast_bfloat16
    from mema.faces.training import shrink

    clear, changed = shrink(learning.clear), shrink(learning.deidentified)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        painter = make_painter().to(memory_format=torch.channels_last)
    batches = -(-len(clear) // BATCH)
    optimizer = torch.optim.AdamW(painter.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=epochs * batches)
    with torch.no_grad():
        wanted = torch.cat([recogniser(batch.float() / 255) for batch in clear.split(BATCH)])
    with tqdm(total=epochs * batches, desc="reconstruction", unit="step") as bar:
        for _ in range(epochs):
            for rows in torch.randperm(len(clear), generator=generator).split(BATCH):
                with torch.autocast("cpu", torch.bfloat16, enabled=fast_bfloat16()):
                    painted = painter(changed[rows].float() / 255)
                    vectors = recogniser(painted)
                likeness = functional.cosine_similarity(vectors.float(), wanted[rows]).mean()
                error = (painted.float() - clear[rows].float() / 255).abs().mean() + 1 - likeness
                optimizer.zero_grad(set_to_none=True)
                error.backward()
                optimizer.step()
                schedule.step()
                bar.update()
    return painter.eval()


def make_painter() -> nn.Module:
    """Return a U-Net from float (N, 3, H, W) in [0, 1] to the same, which changes nothing before it is trained."""
    import torch
    from torch import nn
    from torch.nn import functional

    def block(inputs: int, outputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.SiLU()]
        return nn.Sequential(*layers)

    class Painter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.ModuleList(block(a, b) for a, b in zip((3, *WIDTHS), WIDTHS, strict=False))
            self.up = nn.ModuleList(block(a + b, b) for a, b in zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True))
            self.last = nn.Conv2d(WIDTHS[0], 3, 1)
            for parameter in self.last.parameters():
                nn.init.zeros_(parameter)

        def forward(self, images: Tensor) -> Tensor:
            features, skipped = images * 2 - 1, []
            for number, down in enumerate(self.down):
                features = down(functional.avg_pool2d(features, 2) if number else features)
                skipped.append(features)
            for up, skip in zip(self.up, skipped[-2::-1], strict=True):
                features = up(torch.cat([functional.interpolate(features, scale_factor=2), skip], dim=1))
            return (images + self.last(features)).clamp(0, 1)

    return Painter()
