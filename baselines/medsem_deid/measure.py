"""What a trained MedSem-DeID does to photos: who is still recognised, what is recovered, what a judge reads.

    mema medsem measure --config configs/methods/medsem-deid-phantom.yaml --images SET --recogniser phantom-sphereface

It is a look at a training, not the benchmark: nobody retrains a recogniser here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from baselines.medsem_deid.method import MedSemDeID
from baselines.medsem_deid.settings import MedSemParameters
from mema.errors import UserError
from mema.imageset import ImageSet, encode_png
from mema.records import FaceRecord

FAR = 0.01
SHEET = 12


def measure(
    parameters: MedSemParameters,
    images: Path,
    *,
    recognisers: Sequence[str],
    judge: str | None = None,
    sheet: Path | None = None,
) -> Iterator[str]:
    """Yield lines on the photos of the image set ``images``, each under a password of its own.

    For each of ``recognisers``: the share of photos that are matched to their own original below the distance that
    1 % of pairs of two people undercut (so a stranger scores 1 %), and ID-Dis, the mean distance of unit vectors.
    «wrong» is opened by another photo's password, «near» by one that differs in a single bit. Then PSNR in decibel and,
    with ``judge``, its top-1. ``sheet`` is a PNG to write. UserError when ``images`` shows fewer than two people.
    """
    faces = ImageSet.open(images)
    records, originals = faces.records(), faces.images()
    if len({record.subject_id for record in records}) < 2:
        raise UserError(f"image set {images}: photos of at least two people are needed")
    keys = passwords_of(records)
    method = MedSemDeID(parameters)
    encrypted = method.deidentify(originals, keys=keys, seed=0)
    pictures = {
        "encrypted": encrypted,
        "right": method.recover(encrypted, keys),
        "wrong": method.recover(encrypted, [*keys[1:], keys[0]]),
        "near": method.recover(encrypted, [key[:-1] + chr(ord(key[-1]) ^ 1) for key in keys]),
    }
    if sheet is not None:
        sheet.parent.mkdir(parents=True, exist_ok=True)
        rows = [originals, *pictures.values()]
        sheet.write_bytes(encode_png(np.vstack([np.hstack(list(row[:SHEET])) for row in rows])))
    yield f"{len(records)} photos of {len({record.subject_id for record in records})} people"
    for name in recognisers:
        yield from _recognised(name, originals, pictures, [record.subject_id for record in records])
    for name in ("encrypted", "right", "wrong", "near"):
        yield f"PSNR {name}: {psnr(originals, pictures[name]).mean():.2f} dB"
    if judge is not None:
        diseases = [record.disease for record in records]
        for name, shown in {"original": originals, **pictures}.items():
            yield f"top-1 {name}: {read_right(judge, shown, diseases).mean():.3f}"


def passwords_of(records: Sequence[FaceRecord]) -> list[str]:
    """Return a password for each photo, which is no secret: a measurement is to be repeated."""
    return [f"password of {record.image_id}" for record in records]


def psnr(originals: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the peak signal-to-noise ratio of each pair of uint8 images (N, H, W, 3), decibel, float64 (N,)."""
    errors = np.square(originals.astype(np.float64) - others).mean(axis=(1, 2, 3))
    return 10 * np.log10(255**2 / np.maximum(errors, 1e-12))


def _recognised(
    name: str, originals: np.ndarray, pictures: dict[str, np.ndarray], subjects: Sequence[str]
) -> Iterator[str]:
    from mema.faces.recognisers import recogniser
    from mema.faces.thresholds import calibrate

    instrument = recogniser(name)
    own = instrument.embed(originals).vectors
    threshold = calibrate(own, subjects, FAR, pairs="all", bootstraps=50).distance
    for picture, images in pictures.items():
        distances = np.linalg.norm(own - instrument.embed(images).vectors, axis=1)
        yield f"{name} {picture}: matched {np.mean(distances < threshold):.3f}, ID-Dis {distances.mean():.3f}"


def read_right(judge: str, images: np.ndarray, diseases: Sequence[str | None]) -> np.ndarray:
    """Return whether the disease of each of ``images`` is the first answer of ``judge``'s weights, bool (N,)."""
    from mema.classifier import load, predict
    from mema.weights import find_weights

    model = load(find_weights(judge))
    guesses = np.array(model.classes)[predict(model, images).argmax(axis=1)]
    return np.asarray(guesses == np.array(diseases, dtype=object), bool)
