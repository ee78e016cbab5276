"""The attacker who looks only where the method left the photo as it was."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmark.attacks.material import Learning, Target
from benchmark.attacks.protocol import Column
from benchmark.attacks.refit import Refit
from benchmark.config import BenchmarkConfig
from benchmark.tracks.identity import identification

# A pixel is kept where half of its changes are no more than this, of 255: less than JPEG does.
KEPT = 3
GREY = 127


class KeptRegion:
    """Learns which pixels a method usually keeps, greys out all others and fits a recogniser to what is left.

    A method that keeps nothing leaves it one grey picture, which traces by chance.
    """

    columns: ClassVar[dict[str, Column]] = {"kept-region": Column("kept region only", ("bar",))}

    def __init__(self, learning: Learning, config: BenchmarkConfig) -> None:
        from mema.faces.phantom_recogniser import embed_with, load_network
        from mema.weights import locate

        self.network = load_network(locate(config.ladder.recogniser))
        change = np.abs(learning.deidentified.astype(np.int16) - learning.clear).max(axis=3)
        self.kept = np.median(change, axis=0) <= KEPT
        vectors = embed_with(self.network, learning.clear)
        self.refit = Refit(self.network, self._only_kept(learning.deidentified), vectors, learning.people)

    def trace(self, target: Target) -> dict[str, np.ndarray]:
        """Return the column ``kept-region``."""
        from mema.faces.phantom_recogniser import embed_with

        probes, gallery = self.refit(self._only_kept(target.probes)), embed_with(self.network, target.gallery)
        return {"kept-region": identification(probes, gallery, target.subjects, target.subjects)}

    def _only_kept(self, images: np.ndarray) -> np.ndarray:
        return np.where(self.kept[None, :, :, None], images, np.uint8(GREY))
