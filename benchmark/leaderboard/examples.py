"""The pictures of the pages: the same validation faces, original and as each method publishes them.

The originals are the release's own images. A release of virtual patients shows nobody; of a release that is no
phantom the page shows what the release itself publishes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mema.imageset import ImageSet
from mema.records import FaceRecord

SHOWN_SIZE = 160


class ExampleRow(NamedTuple):
    """One line of the grid: ``label`` and one picture per column as a ``data:`` URI, None where it is missing."""

    label: str
    pictures: list[str | None]


class Pair(NamedTuple):
    """One face as ``data:`` URIs: the original and what a method made of it."""

    original: str
    deidentified: str


class Examples(NamedTuple):
    """``columns`` are disease codes; the first row holds the originals."""

    columns: list[str]
    rows: list[ExampleRow]


def choose(records: Iterable[FaceRecord], count: int) -> list[FaceRecord]:
    """Return ``count`` records, diseases in turn, in the order of the release."""
    by_disease: dict[str, list[FaceRecord]] = {}
    for record in records:
        by_disease.setdefault(record.disease or "", []).append(record)
    queues = [by_disease[disease] for disease in sorted(by_disease)]
    chosen: list[FaceRecord] = []
    while len(chosen) < count and any(queues):
        chosen += [queue.pop(0) for queue in queues if queue][: count - len(chosen)]
    return sorted(chosen, key=lambda record: record.disease or "")


def make_examples(originals: ImageSet, methods: Mapping[str, Path], count: int) -> Examples:
    """Return the grid of ``count`` faces; ``methods`` maps names, in row order, to ImageSets of their images."""
    chosen = choose(originals.records(), count)
    ids = [record.image_id for record in chosen]
    rows = [ExampleRow("Original", _pictures(originals, ids))]
    rows += [ExampleRow(name, _pictures(ImageSet.open(path), ids)) for name, path in methods.items()]
    return Examples([record.disease or "" for record in chosen], rows)


def make_pairs(
    originals: ImageSet, methods: Mapping[str, Path], image_ids: Mapping[str, Collection[str]]
) -> dict[str, dict[str, Pair]]:
    """Return name -> image id -> pair for the ``image_ids`` of each of ``methods``, which map names to ImageSets."""
    before = _uris(originals, {image_id for name in methods for image_id in image_ids[name]})
    pairs = {}
    for name, path in methods.items():
        after = _uris(ImageSet.open(path), image_ids[name])
        pairs[name] = {image_id: Pair(before[image_id], uri) for image_id, uri in after.items()}
    return pairs


def _pictures(imageset: ImageSet, ids: list[str]) -> list[str | None]:
    found = _uris(imageset, ids)
    return [found.get(image_id) for image_id in ids]


def _uris(imageset: ImageSet, wanted: Collection[str]) -> dict[str, str]:
    return {face.record.image_id: _data_uri(face.image) for face in imageset.faces() if face.record.image_id in wanted}


def _data_uri(image: np.ndarray) -> str:
    """Return a uint8 (H, W, 3) image, at most SHOWN_SIZE px wide, as the text that a page embeds."""
    picture = Image.fromarray(image)
    picture.thumbnail((SHOWN_SIZE, SHOWN_SIZE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=86, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
