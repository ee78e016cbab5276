"""The parrot attacker: a recogniser retrained on de-identified photos (Newton et al. 2005; ALGORITHMS §7).

Digital Mask, which naive recognisers could not read, fell to it: rank 1 in 52 % of 555 people.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from benchmark.attacks.material import Learning, Target
from benchmark.attacks.protocol import Column
from benchmark.attacks.refit import Refit
from benchmark.config import BenchmarkConfig
from benchmark.tracks.identity import identification


class Parrot:
    """Fits the last layers of a shipped recogniser anew to its own people's photos before and after (``Refit``).

    ``parrot`` searches clear photos, ``parrot-enrolled`` photos that the attacker had de-identified, and ``key-reuse``
    such photos under the probes' own keys.
    """

    columns: ClassVar[dict[str, Column]] = {
        "parrot": Column("parrot, clear gallery", ("blur", "pixelate", "shuffle")),
        "parrot-enrolled": Column("parrot, de-identified gallery", ("blur", "pixelate", "shuffle")),
        "key-reuse": Column("parrot, gallery under the same key", ("shuffle",), ranked=False, keyed=True),
    }

    def __init__(self, learning: Learning, config: BenchmarkConfig) -> None:
        from mema.faces.phantom_recogniser import embed_with, load_network
        from mema.weights import locate

        self.network = load_network(locate(config.ladder.recogniser))
        vectors = embed_with(self.network, learning.clear)
        self.refit = Refit(self.network, learning.deidentified, vectors, learning.people)

    def trace(self, target: Target) -> dict[str, np.ndarray]:
        """Return the columns for which there is a gallery."""
        from mema.faces.phantom_recogniser import embed_with

        probes = self.refit(target.probes)
        galleries = {"parrot": embed_with(self.network, target.gallery)}
        for name, images in (("parrot-enrolled", target.enrolled), ("key-reuse", target.reused)):
            if images is not None:
                galleries[name] = self.refit(images)
        return {
            name: identification(probes, gallery, target.subjects, target.subjects)
            for name, gallery in galleries.items()
        }
