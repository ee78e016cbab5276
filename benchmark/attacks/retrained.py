"""The parrot attacker with patience: the whole recogniser is trained on, and not its last layers alone.

It needs thousands of photos and a machine to match; with few its certificate is not to be had (docs/benchmark.md).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmark.attacks.material import Learning, Target
from benchmark.attacks.protocol import Column
from benchmark.config import BenchmarkConfig
from benchmark.tracks.identity import identification


class Retrained:
    """Trains a shipped recogniser on for ``ladder.epochs``; a person's clear and de-identified photos are one class."""

    columns: ClassVar[dict[str, Column]] = {
        "retrained": Column("retrained throughout, clear gallery", ("blur", "pixelate", "shuffle")),
        "retrained-enrolled": Column("retrained throughout, de-identified gallery", ("blur", "pixelate", "shuffle")),
    }

    def __init__(self, learning: Learning, config: BenchmarkConfig) -> None:
        from mema.faces.training import train_recogniser
        from mema.weights import locate

        self.network = train_recogniser(
            np.concatenate([learning.clear, learning.deidentified]),
            [*learning.people, *learning.people],
            init=locate(config.ladder.recogniser),
            epochs=config.ladder.epochs,
            seed=config.seed,
            batch_size=64,
            learning_rate=1e-3,
        )

    def trace(self, target: Target) -> dict[str, np.ndarray]:
        """Return the columns for which there is a gallery."""
        from mema.faces.phantom_recogniser import embed_with

        probes = embed_with(self.network, target.probes)
        galleries = {"retrained": target.gallery, "retrained-enrolled": target.enrolled}
        return {
            name: identification(probes, embed_with(self.network, images), target.subjects, target.subjects)
            for name, images in galleries.items()
            if images is not None
        }
