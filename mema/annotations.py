"""Annotations: the one file format in which annotators, human or machine, hand over what they saw.

``annotations.csv``: one row per image, annotator and round with the columns ``image_id, annotator, accept, disease,
severity, reason, lead_time_s, round, mask``. ``accept`` is 1 or 0. ``disease`` is a code of the clinic's taxonomy,
needed where ``accept`` is 1. An empty ``severity`` was not read. ``annotator`` starts with ``oracle:`` where it is a
model. Round 0 is everyone's own reading; a later round settles what was disputed before. ``mask`` is the sha256 of the
tumour mask ``masks/<round>/<annotator>/<image_id>.png``, empty where none was painted.

A folder ``repeats`` beside it holds, in the same format, what annotators said when they were shown an image again, and
``progress.json``, where people annotate, how many answers are there of those that were asked for.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from mema.config import Config, validate
from mema.errors import UserError
from mema.files import atomic_write, read_json, write_json
from mema.imageset import encode_png
from mema.records import Identifier, Severity
from mema.taxonomy import Taxonomy

TABLE = "annotations.csv"
SOURCE = "source.json"
REPEATS = "repeats"
PROGRESS = "progress.json"
MACHINE = "oracle:"
REJECTED = "rejected"
MAX_BYTES = 64 * 2**20


def _empty_is_none(value: Any) -> Any:
    return None if value == "" else value


class Annotation(BaseModel):
    """What one annotator says of one image; ``lead_time_s`` is how long it took, in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_id: Identifier
    annotator: str = Field(min_length=1, max_length=200)
    accept: bool
    disease: Annotated[str | None, BeforeValidator(_empty_is_none)] = None
    severity: Annotated[Severity | None, BeforeValidator(_empty_is_none)] = None
    reason: str = ""
    lead_time_s: Annotated[float | None, BeforeValidator(_empty_is_none)] = Field(default=None, ge=0)
    round: int = Field(default=0, ge=0)
    mask: Annotated[str | None, BeforeValidator(_empty_is_none)] = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _names_what_it_accepts(self) -> Annotation:
        if self.accept and self.disease is None:
            raise ValueError("accepted without a disease")
        return self

    @property
    def by_machine(self) -> bool:
        """Whether a model gave it."""
        return self.annotator.startswith(MACHINE)


class Progress(Config):
    """How many of the images that one annotator is shown in one round they have answered."""

    round: int = Field(ge=0)
    annotator: str
    answered: int = Field(ge=0)
    asked: int = Field(ge=0)


class Consensus(NamedTuple):
    """What the annotators of an image agree on; ``annotators`` are those who share it."""

    accept: bool
    disease: str | None
    severity: Severity | None
    annotators: tuple[str, ...]


def write_annotations(folder: Path, annotations: Iterable[Annotation], *, candidates: str) -> None:
    """Write ``annotations.csv`` and ``source.json``: the digest of the image set whose image ids they use."""
    atomic_write(folder / TABLE, to_csv(annotations))
    write_json(folder / SOURCE, {"candidates": candidates})


def to_csv(annotations: Iterable[Annotation]) -> str:
    """Return the table as text."""
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(Annotation.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows({**one.model_dump(), "accept": int(one.accept)} for one in annotations)
    return sink.getvalue()


def read_annotations(
    folder: Path, taxonomy: Taxonomy, *, candidates: str, command: str = "mema curate annotate"
) -> list[Annotation]:
    """Read and check the table; UserError names the row and column that is wrong, or the command that makes it.

    Annotations hold for the images that were seen, so those of another set of candidates, in which the same ids stand
    for other images, are refused. Filtering again leaves them valid.
    """
    path = folder / TABLE
    if not path.is_file() or not (folder / SOURCE).is_file():
        raise UserError(f"{folder} holds no annotations: run `{command}` first")
    if read_json(folder / SOURCE).get("candidates") != candidates:
        raise UserError(f"{folder}: the annotations are of other candidates: annotate again")
    return read_table(path, taxonomy)


def read_table(path: Path, taxonomy: Taxonomy) -> list[Annotation]:
    """Read and check ``annotations.csv`` alone; UserError names the row and column that is wrong."""
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: larger than {MAX_BYTES} bytes")
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), strict=True)
        if tuple(reader.fieldnames or ()) != tuple(Annotation.model_fields):
            raise UserError(f"{path}: the columns must be {', '.join(Annotation.model_fields)}")
        annotations = [_parse(row, number, path, taxonomy) for number, row in enumerate(reader, 2)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV table ({error})") from None
    counted = Counter((one.image_id, one.annotator, one.round) for one in annotations)
    twice = next((key for key, count in counted.items() if count > 1), None)
    if twice:
        raise UserError(f"{path}: {twice[1]} annotated {twice[0]} twice")
    return annotations


def write_progress(folder: Path, progress: Iterable[Progress]) -> None:
    """Write ``progress.json``."""
    write_json(folder / PROGRESS, [one.model_dump() for one in progress])


def read_progress(folder: Path) -> list[Progress]:
    """Return how far the annotators are, nothing where no people were asked; UserError when the file is not that."""
    path = folder / PROGRESS
    if not path.is_file():
        return []
    rows = read_json(path)
    if not isinstance(rows, list):
        raise UserError(f"{path}: not a list")
    return [validate(Progress, row, f"{path}: {place}") for place, row in enumerate(rows)]


def agree(annotations: Sequence[Annotation]) -> Consensus | None:
    """Return what more than half of an image's annotators say, None when they are divided.

    Only the last round counts: it was held to settle the ones before. First whether to accept; then, more than half of
    those who accept must name one disease. A severity is kept when more than half of those who accept give it, else it
    stays unknown.
    """
    last = max(one.round for one in annotations)
    votes = [one for one in annotations if one.round == last]
    accept = majority([one.accept for one in votes])
    if accept is None:
        return None
    sharing = [one for one in votes if one.accept == accept]
    if not accept:
        return Consensus(False, None, None, tuple(one.annotator for one in sharing))
    disease = majority([one.disease for one in sharing])
    if disease is None:
        return None
    severity = majority([one.severity for one in sharing])
    return Consensus(True, disease, severity, tuple(one.annotator for one in sharing if one.disease == disease))


def majority(votes: Sequence[Any]) -> Any | None:
    """Return the vote that more than half share, else None."""
    counted: Counter[Hashable] = Counter(votes)
    vote, count = max(counted.items(), key=lambda item: item[1])
    return vote if 2 * count > len(votes) else None


def reading(one: Annotation) -> str:
    """Return what an annotation says of its image in one word: the disease, or that it was rejected."""
    return one.disease or "" if one.accept else REJECTED


def disputes(annotations: Iterable[Annotation]) -> list[str]:
    """Return the ids of the images on which the annotators are divided, in the order in which they first occur."""
    by_image: dict[str, list[Annotation]] = {}
    for one in annotations:
        by_image.setdefault(one.image_id, []).append(one)
    return [image_id for image_id, given in by_image.items() if agree(given) is None]


def write_mask(folder: Path, annotation: Annotation, mask: np.ndarray) -> Annotation:
    """Write a mask, bool (H, W), and return the annotation that refers to it."""
    data = encode_png(mask)
    atomic_write(_mask_path(folder, annotation), data)
    return annotation.model_copy(update={"mask": hashlib.sha256(data).hexdigest()})


def read_mask(folder: Path, annotation: Annotation) -> np.ndarray | None:
    """Return the annotation's mask, bool (H, W), None when it has none; UserError when it is not what was written."""
    if annotation.mask is None:
        return None
    path = _mask_path(folder, annotation)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    if hashlib.sha256(data).hexdigest() != annotation.mask:
        raise UserError(f"{path}: the mask is not the one in {TABLE}")
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return np.asarray(image.convert("L")) > 127
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        raise UserError(f"{path}: not a PNG image") from None


def majority_mask(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Return the pixels that more than half of the masks, bool (H, W) each, hold."""
    return np.asarray(2 * np.sum(masks, axis=0, dtype=np.int64) > len(masks))


def _mask_path(folder: Path, annotation: Annotation) -> Path:
    return folder / "masks" / str(annotation.round) / annotation.annotator / f"{annotation.image_id}.png"


def _parse(row: dict[str, Any], number: int, path: Path, taxonomy: Taxonomy) -> Annotation:
    try:
        annotation = Annotation.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: row {number}: {where + ': ' if where else ''}{first['msg']}") from None
    if annotation.disease is not None and annotation.disease not in taxonomy.codes:
        raise UserError(f"{path}: row {number}: disease: '{annotation.disease}' is not one of {taxonomy.name}")
    return annotation
