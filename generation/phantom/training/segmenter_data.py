"""Photos and their lesions' masks, for the promptable segmenter: people whom no hospital treats, one photo of each.

Five in six have a tumour of the lid, the others a disease of the skin with plaques; half are photographed freely, half
by a clinic's protocol. They are rendered once and kept as plain arrays.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from generation.phantom.population import Case, draw_patient
from generation.phantom.render import render_batch
from mema.errors import UserError
from mema.files import read_json, write_json

SIZE = 128
SEED = 30_001
"""Seed of the people that the segmenter learns from: nobody else is drawn with it."""
TURNS = ("bcc", "scc", "bcc", "scc", "psoriasis", "bcc", "scc", "bcc", "scc", "bcc", "scc", "atopic_dermatitis")
SKIN = ("psoriasis", "atopic_dermatitis")
CHUNK = 32


class Lesions(NamedTuple):
    """``images`` uint8 RGB (N, SIZE, SIZE, 3) and their lesions' ``masks`` bool (N, SIZE, SIZE)."""

    images: np.ndarray
    masks: np.ndarray


def lesion_case(index: int) -> Case:
    """Person ``index`` with one shot; the severity is uniform."""
    disease = TURNS[index % len(TURNS)]
    return draw_patient(
        "instruments",
        "dermatology" if disease in SKIN else "eye_clinic",
        index,
        SEED,
        disease=disease,
        photos=(1, 1),
        photography="clinical" if index // len(TURNS) % 2 else "free",
    )


def rendered_lesions(folder: Path, photos: int) -> Lesions:
    """Render the first ``photos`` people into ``folder``, or go on where that stopped; return read-only memory maps.

    UserError when ``folder`` holds another number of photos.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress = folder / "progress.json"
    done = read_json(progress) if progress.exists() else {"photos": photos, "done": 0}
    if done["photos"] != photos:
        raise UserError(f"{folder}: holds {done['photos']} photos, not {photos}: choose an empty folder")
    mode = "r+" if progress.exists() else "w+"
    images = np.lib.format.open_memmap(folder / "images.npy", mode, np.uint8, (photos, SIZE, SIZE, 3))
    masks = np.lib.format.open_memmap(folder / "masks.npy", mode, np.bool_, (photos, SIZE, SIZE))
    with tqdm(total=photos, initial=done["done"], desc="lesions", unit="photo") as bar:
        for start in range(done["done"], photos, CHUNK):
            cases = [lesion_case(index) for index in range(start, min(start + CHUNK, photos))]
            jobs = [(case.subject, case.shots[0], case.finding) for case in cases]
            for row, photo in enumerate(render_batch(jobs, size=SIZE), start):
                images[row], masks[row] = photo.image, photo.lesion
            images.flush()
            masks.flush()
            write_json(progress, {"photos": photos, "done": start + len(cases)})
            bar.update(len(cases))
    return Lesions(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in Lesions._fields))
