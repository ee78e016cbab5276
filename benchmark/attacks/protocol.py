"""What an attacker is: what it may learn from, the columns it fills, and what it must break for each to count."""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from benchmark.attacks.material import Learning, Target
from benchmark.config import BenchmarkConfig
from mema.registry import Registry


class Column(NamedTuple):
    """One way of tracing.

    ``breaks`` names what of ``benchmark.attacks.planted`` it must break to be certified. ``ranked``: whether it counts
    in an image's worst case; what presupposes a stolen key is reported only. ``keyed``: whether it is for reversible
    methods alone; any other column every method must fill.
    """

    title: str
    breaks: tuple[str, ...]
    ranked: bool = True
    keyed: bool = False


class Attacker(Protocol):
    """An attacker on one method, made as ``Class(learning, config)``; the same arguments give the same scores."""

    columns: ClassVar[dict[str, Column]]

    def __init__(self, learning: Learning, config: BenchmarkConfig) -> None:
        """Learn what is to be learnt."""
        ...

    def trace(self, target: Target) -> dict[str, np.ndarray]:
        """Return for some of ``columns`` the chance in [0, 1] that each probe is traced to its subject, (N,).

        A column that ``target`` has no material for is left out.
        """
        ...


ATTACKERS = Registry(
    "attacker",
    {
        "naive": "benchmark.attacks.naive:Naive",
        "parrot": "benchmark.attacks.parrot:Parrot",
        "retrained": "benchmark.attacks.retrained:Retrained",
        "reconstruction": "benchmark.attacks.reconstruction:Reconstruction",
        "kept-region": "benchmark.attacks.kept_region:KeptRegion",
        "keys": "benchmark.attacks.keys:Keys",
    },
    "openmema.attackers",
)
