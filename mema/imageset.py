"""ImageSet: what stages hand each other, a folder of parquet shards with a completion marker (DESIGN §2).

``datasets.load_dataset("parquet", data_files="<folder>/*.parquet")`` opens the shards as they are: ``image`` and
``mask`` are Hugging Face ``Image`` features holding PNG bytes, the other columns are the fields of FaceRecord.
The marker ``_complete.json`` is written last; without it the set is not complete, and writing it again with the
same configuration resumes at the first missing shard.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pydantic import ValidationError

from mema.errors import UserError
from mema.files import atomic_write, read_json, sha256_file, sha256_json, write_json
from mema.records import SCHEMA_VERSION, FaceRecord

MARKER = "_complete.json"
BUILDING = "_building.json"

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_PROVENANCE = pa.struct(
    [
        ("prompt", pa.string()),
        ("seed", pa.int64()),
        ("donor_id", pa.string()),
        ("donor_weight", pa.float64()),
        ("generator", pa.string()),
        ("parents", pa.list_(pa.string())),
        ("annotator", pa.string()),
    ]
)
_FIELDS = {
    "image_id": pa.string(),
    "subject_id": pa.string(),
    "disease": pa.string(),
    "severity": pa.string(),
    "age": pa.float64(),
    "gender": pa.string(),
    "skin_tone": pa.int64(),
    "has_mask": pa.bool_(),
    "split": pa.string(),
    "provenance": _PROVENANCE,
}


def _feature(kind: pa.DataType) -> Any:
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    return {"dtype": {"double": "float64"}.get(str(kind), str(kind)), "_type": "Value"}


def _schema() -> pa.Schema:
    features = {
        "image": {"_type": "Image"},
        "mask": {"_type": "Image"},
        **{k: _feature(v) for k, v in _FIELDS.items()},
    }
    return pa.schema(
        {"image": _IMAGE, "mask": _IMAGE, **_FIELDS},
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )


class Face(NamedTuple):
    """A record with its image, uint8 (H, W, 3) RGB, and its lesion mask, bool (H, W), if it has one."""

    record: FaceRecord
    image: np.ndarray
    mask: np.ndarray | None = None


class ImageSet:
    """A complete set on disk, opened by :meth:`open`; ``digest`` is the hash of its shards' hashes."""

    def __init__(self, path: Path, marker: dict[str, Any]) -> None:
        self.path = path
        self.count: int = marker["count"]
        self.digest: str = marker["digest"]
        self.config: dict[str, Any] = marker["config"]
        self.shards: list[dict[str, Any]] = marker["shards"]

    @classmethod
    def open(cls, path: Path | str) -> ImageSet:
        """Open a complete set; UserError if it is absent, unfinished, of another schema or lacks a shard."""
        path = Path(path)
        if not (path / MARKER).is_file():
            state = "is not finished: run its stage again" if (path / BUILDING).exists() else "does not exist"
            raise UserError(f"image set {path} {state} (no {MARKER})")
        marker = read_json(path / MARKER)
        if marker.get("schema_version") != SCHEMA_VERSION:
            raise UserError(f"image set {path} has schema {marker.get('schema_version')}, not {SCHEMA_VERSION}")
        for shard in marker["shards"]:
            if not (path / shard["name"]).is_file():
                raise UserError(f"image set {path} lacks its shard {shard['name']}")
        return cls(path, marker)

    def verify(self) -> None:
        """Compare every shard with its sha256; UserError names the first that differs."""
        for shard in self.shards:
            if sha256_file(self.path / shard["name"]) != shard["sha256"]:
                raise UserError(f"image set {self.path}: shard {shard['name']} is not what was written")

    def records(self) -> list[FaceRecord]:
        """Return all records in order, without reading an image."""
        rows = (row for table in self._tables(list(_FIELDS)) for row in table.to_pylist())
        return [_record(row, self.path) for row in rows]

    def faces(self) -> Iterator[Face]:
        """Yield records with image and mask, one shard in memory at a time."""
        for table in self._tables(None):
            for row in table.to_pylist():
                image, mask = row.pop("image"), row.pop("mask")
                yield Face(
                    _record(row, self.path),
                    _decode(image["bytes"], "RGB"),
                    None if mask is None else _decode(mask["bytes"], "L") > 127,
                )

    def images(self) -> np.ndarray:
        """Return all images, uint8 (N, H, W, 3), in record order; UserError when they differ in size."""
        images = [face.image for face in self.faces()]
        return self._stacked(images) if images else np.zeros((0, 0, 0, 3), np.uint8)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Yield the images in order, uint8 (up to ``size``, H, W, 3), no more than a batch and a shard in memory.

        UserError when images of a batch differ in size.
        """
        faces = self.faces()
        while batch := [face.image for face in islice(faces, size)]:
            yield self._stacked(batch)

    def _stacked(self, images: list[np.ndarray]) -> np.ndarray:
        if len({image.shape for image in images}) > 1:
            raise UserError(f"image set {self.path} holds images of different sizes")
        return np.stack(images)

    def masks(self) -> list[np.ndarray | None]:
        """Return all masks, bool (H, W) or None, in record order."""
        return [face.mask for face in self.faces()]

    def _tables(self, columns: list[str] | None) -> Iterator[pa.Table]:
        for shard in self.shards:
            yield pq.read_table(self.path / shard["name"], columns=columns)


def write_imageset(
    path: Path | str,
    count: int,
    make: Callable[[int, int], Iterable[Face]],
    *,
    config: dict[str, Any],
    shard_size: int = 64,
    label: str = "",
) -> ImageSet:
    """Write ``count`` faces to the folder ``path``, shard by shard, and the completion marker last.

    ``make(start, stop)`` returns the faces of one shard and must depend on nothing but its arguments and
    ``config`` (which therefore names the inputs, by digest). A rerun with the same ``config`` keeps the shards
    that are there; with another one it begins anew. With a ``label`` a progress bar is shown.
    """
    from tqdm import tqdm

    path = Path(path)
    config = json.loads(json.dumps(config))
    plan = {"schema_version": SCHEMA_VERSION, "count": count, "shard_size": shard_size, "config": config}
    if _plan_of(path, MARKER) == plan:
        return ImageSet.open(path)
    if path.is_dir() and _plan_of(path, BUILDING) != plan:
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
    write_json(path / BUILDING, plan)

    shards = []
    seen: set[str] = set()
    with tqdm(total=count, desc=label, unit="image", disable=None if label else True) as bar:
        for number, start in enumerate(range(0, count, shard_size)):
            stop = min(start + shard_size, count)
            file = path / f"shard-{number:05d}.parquet"
            if not file.is_file():
                faces = list(make(start, stop))
                if len(faces) != stop - start:
                    raise AssertionError(f"{len(faces)} faces made for rows {start} to {stop}")
                atomic_write(file, _encode_shard(faces))
            ids = pq.read_table(file, columns=["image_id"])["image_id"].to_pylist()
            if len(set(ids)) < len(ids) or seen & set(ids):
                raise UserError(f"image set {path}: an image id occurs twice in or before {file.name}")
            seen.update(ids)
            shards.append({"name": file.name, "count": stop - start, "sha256": sha256_file(file)})
            bar.update(stop - start)
    digest = sha256_json([shard["sha256"] for shard in shards])
    write_json(path / MARKER, {**plan, "shards": shards, "digest": digest})
    (path / BUILDING).unlink()
    return ImageSet.open(path)


def _plan_of(path: Path, name: str) -> dict[str, Any] | None:
    if not (path / name).is_file():
        return None
    written = read_json(path / name)
    return {key: written.get(key) for key in ("schema_version", "count", "shard_size", "config")}


def encode_png(image: np.ndarray) -> bytes:
    """Return the PNG bytes of an image, uint8 (H, W, 3), or of a mask, bool (H, W)."""
    buffer = io.BytesIO()
    array = image.astype(np.uint8) * 255 if image.dtype == np.bool_ else image
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def _encode_shard(faces: list[Face]) -> bytes:
    rows = [
        {
            "image": {"bytes": encode_png(face.image), "path": f"{face.record.image_id}.png"},
            "mask": None
            if face.mask is None
            else {"bytes": encode_png(face.mask), "path": f"{face.record.image_id}.mask.png"},
            **face.record.model_copy(update={"has_mask": face.mask is not None}).model_dump(mode="json"),
        }
        for face in faces
    ]
    sink = io.BytesIO()
    # PNG bytes do not compress further; without compression the file depends on one library less.
    pq.write_table(pa.Table.from_pylist(rows, schema=_schema()), sink, compression="none")
    return sink.getvalue()


def _record(row: dict[str, Any], path: Path) -> FaceRecord:
    try:
        return FaceRecord.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"image set {path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _decode(data: bytes, mode: str) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        return np.asarray(image.convert(mode))
