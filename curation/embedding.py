"""Embed the photos of image sets with several recognisers, in bounded memory and, if wanted, several processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from curation.reading import read_rows
from mema.engine import map_batches
from mema.faces.recognisers import Embeddings, Recogniser, recogniser
from mema.imageset import ImageSet

BATCH = 64


def embed_sets(
    sets: Mapping[str, ImageSet], recognisers: Sequence[str], *, workers: int = 1
) -> dict[str, dict[str, Embeddings]]:
    """Return ``{recogniser: {set: Embeddings}}``, vectors in record order; one progress bar for all sets."""
    edges = [0, *np.cumsum([one.count for one in sets.values()]).tolist()]
    places = [(one.path, start) for one, start in zip(sets.values(), edges, strict=False)]
    function = partial(_embed_rows, places, tuple(edges), tuple(recognisers))
    parts = list(map_batches(function, range(edges[-1]), batch_size=BATCH, workers=workers, label="recognise"))
    vectors: dict[str, dict[str, Embeddings]] = {}
    for name in recognisers:
        whole = join([part[name] for part in parts])
        vectors[name] = {
            key: Embeddings(whole.vectors[start:stop], whole.found[start:stop])
            for key, (start, stop) in zip(sets, pairwise(edges), strict=True)
        }
    return vectors


def embed_images(images: np.ndarray, recognisers: Sequence[str]) -> dict[str, Embeddings]:
    """Return ``{recogniser: Embeddings}`` of ``images``, uint8 RGB (N, H, W, 3), in this process."""
    return {name: _instrument(name).embed(images) for name in recognisers}


def join(parts: Sequence[Embeddings]) -> Embeddings:
    """Return the embeddings of consecutive batches as one."""
    vectors, found = zip(*parts, strict=True) if parts else ((np.zeros((0, 1), np.float32),), (np.zeros(0, bool),))
    return Embeddings(np.concatenate(vectors), np.concatenate(found))


def _embed_rows(
    places: Sequence[tuple[Path, int]], edges: Sequence[int], recognisers: Sequence[str], rows: Sequence[int]
) -> dict[str, Embeddings]:
    """Embed a run of rows, counted through all sets; ``places`` says where each set lies and its first row."""
    start, stop = rows[0], rows[-1] + 1
    parts = []
    for (path, first), last in zip(places, edges[1:], strict=True):
        low, high = max(start, first), min(stop, last)
        if low < high:
            images = np.stack([face.image for face in read_rows(path, low - first, high - first)])
            parts.append(embed_images(images, recognisers))
    return {name: join([part[name] for part in parts]) for name in recognisers}


@lru_cache
def _instrument(name: str) -> Recogniser:
    """Weights are loaded once a process, not once a batch."""
    return recogniser(name)
