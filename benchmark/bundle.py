"""The per-image bundle: every image's scores as one parquet file, with two columns of ids and else numbers alone.

``pandas.read_parquet`` opens it. From it every metric, interval and rank can be derived again without any face.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mema.errors import UserError
from mema.files import atomic_write
from mema.result import Result

IDS = ("image_id", "subject_id")
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SCORE = re.compile(r"[a-z0-9_]{1,64}(\.[A-Za-z0-9_.-]{1,64})?")
MAX_BYTES = 100_000_000
MAX_CELLS = 50_000_000


class Bundle(NamedTuple):
    """``scores[name][i]`` belongs to ``image_ids[i]``; None where the image has no such score."""

    image_ids: list[str]
    subject_ids: list[str]
    scores: dict[str, list[float | None]]


def write_bundle(result: Result, path: Path) -> Path:
    """Write the per-image scores of ``result``; the same scores give the same bytes."""
    columns = {
        "image_id": pa.array(result.image_ids, pa.string()),
        "subject_id": pa.array(result.subject_ids, pa.string()),
    }
    columns |= {name: pa.array(scores, pa.float64()) for name, scores in sorted(result.scores.items())}
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    return atomic_write(path, sink.getvalue())


def read_bundle(path: Path) -> Bundle:
    """Read a bundle that anyone may have written; UserError when it is no parquet, too large, or holds more."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: larger than {MAX_BYTES // 1_000_000} MB")
    try:
        file = pq.ParquetFile(path)
        # Said by the file's own head, before anything is unpacked.
        if file.metadata.num_rows * file.metadata.num_columns > MAX_CELLS:
            raise UserError(f"{path}: more than {MAX_CELLS:,} cells")
        for field in file.schema_arrow:
            wanted = pa.string() if field.name in IDS else pa.float64()
            if field.type != wanted or not (field.name in IDS or SCORE.fullmatch(field.name)):
                raise UserError(f"{path}: column '{field.name[:80]}' of {field.type} has no place in a bundle")
        table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a parquet file ({type(error).__name__})") from None
    columns = table.to_pydict()
    for name in IDS:
        if name not in columns:
            raise UserError(f"{path}: no column '{name}'")
        for value in columns[name]:
            if value is None or not ID.fullmatch(value):
                raise UserError(f"{path}: '{str(value)[:80]}' is no {name}")
    return Bundle(columns.pop("image_id"), columns.pop("subject_id"), columns)
