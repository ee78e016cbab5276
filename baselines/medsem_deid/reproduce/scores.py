"""What a trained variant does to each photo of a release's validation split, kept beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from baselines.medsem_deid.measure import passwords_of, psnr, read_right
from baselines.medsem_deid.method import MedSemDeID
from baselines.medsem_deid.model_file import FILE
from baselines.medsem_deid.reproduce.settings import Experiments
from baselines.medsem_deid.reproduce.variants import Trained
from mema.files import read_json, sha256_file, write_json
from mema.imageset import ImageSet
from mema.weights import digest, find_weights

BLOCK = 32
TOP1, ID_DIS, RECOVERED = "med_class", "id_dis", "psnr"

Scores = dict[str, np.ndarray]
Opener = Callable[[np.ndarray, Sequence[str]], tuple[np.ndarray, np.ndarray]]


def scores_of(trained: Trained, photos: ImageSet, experiments: Experiments) -> Scores:
    """Return each score of ``photos``, float (N,): measured, or as kept from a measurement of the same weights.

    ``med_class`` is 1 where the judge reads the disease of the de-identified photo, ``id_dis.<recogniser>`` the
    distance of unit vectors, ``psnr`` that of the photo opened with its password, decibel.
    """
    method = MedSemDeID(trained.parameters)

    def run(images: np.ndarray, keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        made = method.deidentify(images, keys=keys, seed=0)
        return made, method.recover(made, keys)

    made_by = {"weights": sha256_file(trained.folder / "model" / FILE), "detail": trained.parameters.detail}
    return _kept(trained.folder / "scores.json", made_by, photos, experiments, run)


def scores_of_originals(folder: Path, photos: ImageSet, experiments: Experiments) -> Scores:
    """Return the same of ``photos`` themselves: how far the judge reads them at all."""
    return _kept(folder / "originals.json", {}, photos, experiments, lambda images, _: (images, images))


def _kept(file: Path, made_by: dict[str, Any], photos: ImageSet, experiments: Experiments, run: Opener) -> Scores:
    identity = made_by | {
        "photos": photos.digest,
        "judge": digest(find_weights(experiments.judge)),
        "recognisers": list(experiments.recognisers),
    }
    if not (file.is_file() and read_json(file)["identity"] == identity):
        scores = _measure(photos, experiments, run)
        values = {name: column.tolist() for name, column in scores.items()}
        write_json(file, {"identity": identity, "scores": values})
    return {name: np.array(column) for name, column in read_json(file)["scores"].items()}


def _measure(photos: ImageSet, experiments: Experiments, run: Opener) -> Scores:
    from tqdm import tqdm

    from mema.faces.recognisers import recogniser

    instruments = [recogniser(name) for name in experiments.recognisers]
    parts: dict[str, list[np.ndarray]] = {}
    faces = photos.faces()
    with tqdm(total=photos.count, desc="measure", unit="photo") as bar:
        while block := list(islice(faces, BLOCK)):
            images, records = np.stack([face.image for face in block]), [face.record for face in block]
            made, opened = run(images, passwords_of(records))
            diseases = [record.disease for record in records]
            found = {TOP1: read_right(experiments.judge, made, diseases).astype(float), RECOVERED: psnr(images, opened)}
            for instrument in instruments:
                before, after = (instrument.embed(shown).vectors.astype(np.float64) for shown in (images, made))
                found[f"{ID_DIS}.{instrument.name}"] = np.linalg.norm(before - after, axis=1)
            for name, column in found.items():
                parts.setdefault(name, []).append(column)
            bar.update(len(block))
    return {name: np.concatenate(columns) for name, columns in parts.items()}
