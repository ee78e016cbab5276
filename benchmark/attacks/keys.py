"""The attackers of reversible methods: one who stole the right key, one whose key differs in a single bit."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmark.attacks.material import Learning, Target
from benchmark.attacks.protocol import Column
from benchmark.config import BenchmarkConfig
from benchmark.tracks.identity import identification


class Keys:
    """Opens the probes and looks, as a naive attacker, for the nearest photo.

    That the right key gives the identity back is what a reversible method is for, so ``stolen-key`` does not rank; that
    any other key must not is what it promises, so ``near-key`` does.
    """

    columns: ClassVar[dict[str, Column]] = {
        "stolen-key": Column("stolen key", ("keyed-shuffle",), ranked=False, keyed=True),
        "near-key": Column("key one bit away", ("short-key",), keyed=True),
    }

    def __init__(self, learning: Learning, config: BenchmarkConfig) -> None:
        from mema.faces.phantom_recogniser import load_network
        from mema.weights import locate

        self.network = load_network(locate(config.ladder.recogniser))

    def trace(self, target: Target) -> dict[str, np.ndarray]:
        """Return both columns where the method is reversible, else none."""
        from mema.faces.phantom_recogniser import embed_with

        gallery = embed_with(self.network, target.gallery)
        return {
            name: identification(embed_with(self.network, opened), gallery, target.subjects, target.subjects)
            for name, opened in (("stolen-key", target.recovered), ("near-key", target.nearly))
            if opened is not None
        }
