"""Check the photos that a table names, each once and all of them, before any is used.

Reasons name no file, because photos of patients must not be named in a log; the caller adds row and column.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from mema.engine import map_batches
from mema.errors import UserError
from mema.files import sha256_file
from mema.photos import load_photo


class Source(NamedTuple):
    """The files of one row of a table: a photo and, perhaps, the mask of its lesion."""

    row: int
    photo: Path
    mask: Path | None = None


class Check(NamedTuple):
    """What the check of a source says: the photo's sha256, or what is wrong with which column."""

    row: int
    sha256: str
    problem: str | None


def check_sources(sources: Sequence[Source], *, workers: int, label: str) -> list[Check]:
    """Decode every photo and mask once, in ``workers`` processes, under a progress bar; checks in order."""
    parts = map_batches(_check_batch, sources, batch_size=32, workers=workers, label=label)
    return [check for part in parts for check in part]


def load_source(source: Source, size: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the photo, uint8 (size, size, 3), and its mask, bool (size, size), cut and scaled alike.

    UserError, naming no file, if one of them cannot be read or the mask is not of the photo's size.
    """
    image = load_photo(source.photo, size=size)
    if source.mask is None:
        return image, None
    mask = load_photo(source.mask).max(axis=2) > 127
    if mask.shape != load_photo(source.photo).shape[:2]:
        raise UserError("the mask is not of the photo's size")
    fitted = ImageOps.fit(Image.fromarray(mask), (size, size), method=Image.Resampling.NEAREST)
    return image, np.asarray(fitted)


def _check_batch(sources: Sequence[Source]) -> list[Check]:
    return [_check(source) for source in sources]


def _check(source: Source) -> Check:
    try:
        shape = load_photo(source.photo).shape[:2]
    except UserError as error:
        return Check(source.row, "", f"image: {error}")
    if source.mask is not None:
        try:
            fits = load_photo(source.mask).shape[:2] == shape
        except UserError as error:
            return Check(source.row, "", f"lesion_mask: {error}".replace("the photo", "the mask"))
        if not fits:
            return Check(source.row, "", "lesion_mask: not of the photo's size")
    return Check(source.row, sha256_file(source.photo), None)
