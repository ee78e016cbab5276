"""The naive attacker: recognisers that never saw a de-identified face look for the nearest photo."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmark.attacks.material import Learning, Target
from benchmark.attacks.protocol import Column
from benchmark.config import BenchmarkConfig
from benchmark.embedding import embed
from benchmark.tracks.identity import identification


class Naive:
    """Traces with every held-out recogniser; an image counts as traced if one of them finds it."""

    columns: ClassVar[dict[str, Column]] = {"naive": Column("naive", ("mild-blur", "mild-mosaic"))}

    def __init__(self, learning: Learning, config: BenchmarkConfig) -> None:
        self.recognisers = config.recognisers

    def trace(self, target: Target) -> dict[str, np.ndarray]:
        """Return the column ``naive``."""

        def traced(name: str) -> np.ndarray:
            probes, gallery = (embed(images, name) for images in (target.probes, target.gallery))
            return identification(probes, gallery, target.subjects, target.subjects)

        return {"naive": np.max([traced(name) for name in self.recognisers], axis=0)}
