"""What MedSem-DeID and its encoders are trained on: a release's training split, donors, or both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from baselines.medsem_deid.settings import ScheduleSettings
from mema.errors import UserError
from mema.files import read_json, sha256_json, write_json
from mema.imageset import ImageSet
from mema.release import FILE as RELEASE_FILE
from mema.release import Release

SPLIT = "train"


def training_split(path: Path) -> ImageSet:
    """Open the training split of the release in ``path``, or ``path`` itself where it is an image set."""
    if not (path / RELEASE_FILE).is_file():
        return ImageSet.open(path)
    Release.read(path)
    return ImageSet.open(path / SPLIT)


def choose_sets(schedule: ScheduleSettings, release: Path | None, donors: Path | None) -> list[ImageSet]:
    """Return the image sets that ``schedule.data`` names; UserError when one was not given."""
    sets = []
    for kind, path in (("release", release), ("donors", donors)):
        if schedule.data in (kind, "both"):
            if path is None:
                raise UserError(f"medsem: schedule.data is {schedule.data}: give --{kind}")
            sets.append(training_split(path))
    return sets


class Photos(NamedTuple):
    """``images`` uint8 (N, S, S, 3), a memory map, and a ``digest`` that stands for them."""

    images: np.ndarray
    digest: str


def gather(sets: Sequence[ImageSet], size: int, folder: Path, *, write: bool = True) -> Photos:
    """Return the photos of ``sets`` at ``size`` x ``size`` pixels, decoded once into ``folder``.

    Of several processes one is to ``write``; the others call it afterwards. UserError when there is no photo.
    """
    from PIL import Image
    from tqdm import tqdm

    digest = sha256_json({"sets": [one.digest for one in sets], "size": size})
    file, marker = folder / "photos.npy", folder / "photos.json"
    count = sum(one.count for one in sets)
    if count == 0:
        raise UserError(f"image set {sets[0].path}: no photo to train on")
    if write and not (marker.is_file() and read_json(marker) == digest):
        folder.mkdir(parents=True, exist_ok=True)
        marker.unlink(missing_ok=True)
        images = np.lib.format.open_memmap(file, "w+", np.uint8, (count, size, size, 3))
        faces = (face for one in sets for face in one.faces())
        for row, face in enumerate(tqdm(faces, total=count, desc="photos", unit="photo")):
            square = face.image.shape[:2] == (size, size)
            picture = face.image if square else Image.fromarray(face.image).resize((size, size), Image.Resampling.BOX)
            images[row] = picture
        images.flush()
        write_json(marker, digest)
    # Copied on write, since torch warns of arrays that cannot be written to.
    return Photos(np.load(file, mmap_mode="c"), digest)
