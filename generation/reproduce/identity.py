"""In whom is an arm's sample recognised: a training patient, or the donor whose attributes were injected?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from generation.plan import PlanRow
from generation.reproduce.arms import batches_of
from generation.reproduce.settings import EffectsConfig
from mema.build import Build
from mema.faces.leakage import Hits, gallery_hits, own_hits, subject_distances
from mema.faces.recognisers import Recogniser, recogniser
from mema.faces.thresholds import Threshold, calibrate
from mema.imageset import ImageSet


class Recognised(NamedTuple):
    """What one recogniser says of every arm.

    ``patients``: which samples are near to a training patient, against patients that no model was trained on.
    ``donors``: which are near to the donor of their row, against another donor. An arm without donors is measured
    against the donors that its twin has, which shows how often that happens by chance.
    """

    threshold: Threshold
    patients: dict[str, Hits]
    donors: dict[str, Hits]


def recognise(
    name: str, build: Build, arms: Mapping[str, ImageSet], rows: Sequence[PlanRow], config: EffectsConfig
) -> Recognised:
    """Measure ``arms`` of the plan ``rows``, all of whose rows have a donor, with the recogniser called ``name``.

    The threshold is calibrated on all pairs of photos of different people in the cohort and the controls.
    """
    instrument = recogniser(name)
    cohort, controls, donors = (ImageSet.open(path) for path in (build.cohort, build.controls, build.donors))
    patients, others = vectors_of(instrument, cohort), vectors_of(instrument, controls)
    faces = vectors_of(instrument, donors)
    subjects, strangers = ([record.subject_id for record in people.records()] for people in (cohort, controls))
    threshold = calibrate(np.concatenate([patients, others]), subjects + strangers, config.far, pairs="all")
    cutoffs = (threshold.distance, *threshold.interval)
    names = [record.image_id for record in donors.records()]
    column = {donor: number for number, donor in enumerate(names)}
    own = np.array([column[row.donor_id] for row in rows if row.donor_id is not None])
    found = Recognised(threshold, {}, {})
    for arm, samples in arms.items():
        probes = vectors_of(instrument, samples)
        found.patients[arm] = gallery_hits(probes, patients, subjects, others, strangers, cutoffs)
        distances = subject_distances(probes, faces, names)
        hits = own_hits([distances < cutoff for cutoff in cutoffs], own)
        assert hits is not None, "every row has a donor"
        found.donors[arm] = hits
    return found


def vectors_of(instrument: Recogniser, source: ImageSet) -> np.ndarray:
    """Return the unit vectors of all images of ``source``, float32 (N, dimension)."""
    parts = [instrument.embed(images).vectors for images in batches_of(source, f"{instrument.name} {source.path.name}")]
    return np.concatenate([np.zeros((0, instrument.dimension), np.float32), *parts])
