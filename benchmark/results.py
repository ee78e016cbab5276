"""A result on disk: as a run writes it, whole, or as the shelf keeps it, ``result.json`` with ``scores.parquet``.

The second is what goes to git: the JSON stays readable, and the per-image bundle small.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from benchmark.bundle import MAX_BYTES, read_bundle, write_bundle
from mema.errors import UserError
from mema.files import empty_beside, read_json, replace_folder, sha256_file, write_json
from mema.result import Result

RESULT = "result.json"
BUNDLE = "scores.parquet"
PER_IMAGE = ("image_ids", "subject_ids", "scores")


def read_result(path: Path) -> Result:
    """Read a result as ``mema benchmark run`` writes it or as the shelf keeps it; a folder stands for its result.json.

    UserError when there is none, it is too large, or its bundle is absent or another one.
    """
    file = path / RESULT if path.is_dir() else path
    if file.is_file() and file.stat().st_size > MAX_BYTES:
        raise UserError(f"{file}: larger than {MAX_BYTES // 1_000_000} MB")
    values = read_json(file)
    if not isinstance(values, dict) or "bundle" not in values:
        return Result.load(file)
    bundle = file.with_name(BUNDLE)
    if not bundle.is_file() or sha256_file(bundle) != values.pop("bundle"):
        raise UserError(f"{bundle}: absent, or not the bundle that {RESULT} was written with")
    try:
        return Result.model_validate(values | read_bundle(bundle)._asdict())
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def write_result(result: Result, folder: Path) -> Path:
    """Write a result and its bundle in the place of ``folder``, whole or not at all."""
    staging = empty_beside(folder)
    bundle = write_bundle(result, staging / BUNDLE)
    values = result.model_dump(mode="json", exclude=set(PER_IMAGE))
    write_json(staging / RESULT, values | {"bundle": sha256_file(bundle)})
    replace_folder(staging, folder)
    return folder
