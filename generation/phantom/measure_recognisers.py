"""How well the project's recognisers tell unseen phantoms apart, ill or well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from generation.phantom.training.recogniser_data import Photos

UNSEEN = 1_000_000
"""First number of the people for measurement; training draws from 0 on."""


def unseen_photos(people: int = 120, photos: int = 5, *, seed: int = 0, workers: int = 1) -> Photos:
    """Render ``photos`` photos of each of ``people`` whom no recogniser was trained on, well in every third."""
    from generation.phantom.render import render_batch
    from generation.phantom.training.recogniser_data import Photos, instrument_cases, jobs

    cases = instrument_cases(people, photos, seed=seed, first=UNSEEN)
    images = np.stack([photo.image for photo in render_batch(jobs(cases), workers=workers)])
    return Photos(images, cases)


def measure_recogniser(name: str, photos: Photos) -> dict[str, float]:
    """Measure verification by the recogniser ``name`` over all pairs of ``photos``.

    Returns ``photos``, ``auc`` (pairs of one person against pairs of two), ``tar_at_far_1e-3`` (share of the former
    below the distance that 0.1 % of the latter undercut), mean distances ``same`` and ``different``, and ``found``.
    """
    from scipy.spatial.distance import pdist
    from sklearn.metrics import roc_auc_score

    from mema.faces.recognisers import recogniser

    vectors, found = recogniser(name).embed(photos.images)
    distances = pdist(vectors)
    first, second = np.triu_indices(len(vectors), 1)
    people = np.array(photos.people)
    same = people[first] == people[second]
    threshold = np.quantile(distances[~same], 1e-3)
    return {
        "photos": float(len(vectors)),
        "auc": float(roc_auc_score(same, -distances)),
        "tar_at_far_1e-3": float((distances[same] < threshold).mean()),
        "same": float(distances[same].mean()),
        "different": float(distances[~same].mean()),
        "found": float(found.mean()),
    }
