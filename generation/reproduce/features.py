"""Images as numbers: by the judge's reading of signs, or by a recogniser's reading of faces."""

from __future__ import annotations

import numpy as np

from generation.reproduce.arms import batches_of
from generation.reproduce.identity import vectors_of
from generation.reproduce.settings import EffectsConfig
from mema.faces.recognisers import recogniser
from mema.imageset import ImageSet
from mema.weights import find_weights

SIGNS, FACES = "signs", "faces"
SPACES = (SIGNS, FACES)


def features_of(space: str, source: ImageSet, config: EffectsConfig) -> np.ndarray:
    """Return the features of all images of ``source`` in one of ``SPACES``, float32 (N, D).

    ``signs``: those of the judge; ``faces``: those of the first recogniser.
    """
    if space == FACES:
        return vectors_of(recogniser(config.recognisers[0]), source)
    import torch

    from mema.classifier import as_tensor, load

    model = load(find_weights(config.judge))
    with torch.inference_mode():
        parts = [model.embed(as_tensor(images)).numpy() for images in batches_of(source, f"signs {source.path.name}")]
    return np.concatenate(parts)
