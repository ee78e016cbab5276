"""Pre-annotation: a first outline of the tumour for every image that will be pushed, made from the image alone."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from curation.segmenting.segmenter import Prompt, Proposal, Segmenter
from mema.errors import UserError
from mema.files import atomic_write, read_json, sha256_file, write_json
from mema.imageset import ImageSet, encode_png

SETTINGS = "segmenter.json"
COLUMNS = ("image_id", "x", "y")
GRID = 16
"""Clicks along a side of an image of which no click is given."""
AT_ONCE = 32


def propose(
    images: ImageSet, folder: Path, segmenter: Segmenter, *, clicks: Path | None = None, least_score: float = 0.5
) -> int:
    """Write ``<image_id>.png`` for every image of ``images`` into ``folder``; returns how many show an outline.

    With ``clicks`` (CSV: image_id, x, y in pixels, optionally inside = 0 or 1) the clicks of an image are one prompt,
    and an image without any gets none. Otherwise a grid of clicks is tried, and the best outline taken if the segmenter
    expects an IoU of at least ``least_score`` of it: that is for one that roughly knows what a lesion is, as the
    phantom segmenter does, and not for SAM, which outlines whatever is clicked. An empty mask is no proposal. What is
    there already is kept, so a rerun goes on; UserError when it was made in another way.
    """
    from tqdm import tqdm

    given = read_clicks(clicks) if clicks else None
    settings: dict[str, object] = {
        "segmenter": segmenter.version,
        "clicks": sha256_file(clicks) if clicks else None,
        "least_score": least_score,
    }
    _check(folder / SETTINGS, settings)
    outlined = 0
    for face in tqdm(images.faces(), total=images.count, desc="outlines", unit="image", disable=None):
        path = folder / f"{face.record.image_id}.png"
        if not path.exists():
            prompt = given.get(face.record.image_id) if given is not None else None
            if prompt is not None:
                _check_inside(face.record.image_id, prompt, face.image)
            atomic_write(path, encode_png(_outline(segmenter, face.image, prompt, given is None, least_score)))
        outlined += _shows_something(path)
    return outlined


def read_clicks(path: Path) -> dict[str, Prompt]:
    """Return the prompt of each image of a table of clicks; UserError names the file and the row that is wrong."""
    prompts: dict[str, Prompt] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if not set(COLUMNS) <= set(rows.fieldnames or ()):
                raise UserError(f"{path}: the columns {', '.join(COLUMNS)} are needed")
            for number, row in enumerate(rows, 2):
                try:
                    point = float(row["x"]), float(row["y"])
                    inside = {"": True, "1": True, "0": False}[(row.get("inside") or "").strip()]
                except (TypeError, ValueError, KeyError):
                    raise UserError(f"{path}:{number}: x and y are pixels, inside is 0 or 1") from None
                known = prompts.get(row["image_id"], Prompt())
                prompts[row["image_id"]] = Prompt((*known.points, point), (*known.inside, inside))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text") from None
    return prompts


def search(segmenter: Segmenter, image: np.ndarray) -> Proposal:
    """Return the outline of which the segmenter is surest among those of a grid of clicks on uint8 RGB (H, W, 3)."""
    embedding, clicks = segmenter.embed(image), list(_grid(image))
    parts = (segmenter.segment(embedding, clicks[start : start + AT_ONCE]) for start in range(0, len(clicks), AT_ONCE))
    return max((one for part in parts for one in part), key=lambda proposal: proposal.score)


def _grid(image: np.ndarray) -> Iterator[Prompt]:
    height, width = image.shape[:2]
    for y in (np.arange(GRID) + 0.5) / GRID * height - 0.5:
        for x in (np.arange(GRID) + 0.5) / GRID * width - 0.5:
            yield Prompt(((float(x), float(y)),), (True,))


def _outline(
    segmenter: Segmenter, image: np.ndarray, prompt: Prompt | None, searched: bool, least_score: float
) -> np.ndarray:
    if prompt is not None:
        (found,) = segmenter.segment(segmenter.embed(image), [prompt])
        return found.mask
    if searched:
        found = search(segmenter, image)
        if found.score >= least_score:
            return found.mask
    return np.zeros(image.shape[:2], bool)


def _check_inside(image_id: str, prompt: Prompt, image: np.ndarray) -> None:
    height, width = image.shape[:2]
    if not all(0 <= x < width and 0 <= y < height for x, y in prompt.points):
        raise UserError(f"a click on {image_id} lies outside its {width} x {height} pixels")


def _check(path: Path, settings: dict[str, object]) -> None:
    if path.exists() and read_json(path) != settings:
        raise UserError(f"{path}: other outlines lie here, made with other weights or clicks: choose an empty folder")
    write_json(path, settings)


def _shows_something(path: Path) -> bool:
    from PIL import Image

    with Image.open(path, formats=["PNG"]) as image:
        return image.getbbox() is not None
