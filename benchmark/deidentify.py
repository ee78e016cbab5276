"""Run a method over a split without trusting it: what it does not deliver becomes a failure, never a crash."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from mema.errors import UserError
from mema.files import read_json, write_json
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord, Provenance
from mema.result import Failure


def deidentify_set(
    method: Any, source: ImageSet, path: Path, *, batch_size: int, seed: int, config: dict[str, Any]
) -> tuple[ImageSet, list[Failure]]:
    """Write the de-identified images of ``source`` to ``path`` in the same order; return them and the failures.

    ``method`` is a Deidentifier. A failed image is written black, and its reason lies beside its shard, so that a
    resumed run reports it too.
    """
    images, records = source.images(), source.records()

    def make(start: int, stop: int) -> list[Face]:
        outputs = np.zeros_like(images[start:stop])
        reasons: dict[str, str] = {}
        for first in range(start, stop, batch_size):
            rows = range(first, min(first + batch_size, stop))
            keys = [_key(records[row], seed) for row in rows]
            for row, output in zip(rows, apply_method(method, images[rows], keys, seed), strict=True):
                if isinstance(output, str):
                    reasons[records[row].image_id] = output
                else:
                    outputs[row - start] = output
        write_json(path / f"failures-{start:07d}.json", reasons)
        return [Face(_published(records[start + i]), output) for i, output in enumerate(outputs)]

    written = write_imageset(path, len(records), make, config=config, label=path.parent.name)
    failures = [
        Failure(image_id=image_id, reason=reason)
        for file in sorted(path.glob("failures-*.json"))
        for image_id, reason in read_json(file).items()
    ]
    return written, failures


def apply_method(
    method: Any, images: np.ndarray, keys: Sequence[str], seed: int
) -> list[np.ndarray] | list[np.ndarray | str]:
    """Return for each image its output, uint8 (H, W, 3), or the reason why there is none.

    A batch that fails is tried again image by image, so that one bad image costs no other.
    """
    try:
        outputs = method.deidentify(images.copy(), keys=list(keys), seed=seed)
        problem = _problem(outputs, images)
        if problem is None:
            return list(outputs)
    except UserError:
        raise
    except Exception as error:  # the method is foreign code: whatever it raises is its failure, not ours
        first_line = (str(error).splitlines() or [""])[0]
        problem = f"{type(error).__name__}: {first_line}"[:200]
    if len(images) == 1:
        return [problem]
    return [apply_method(method, images[i : i + 1], keys[i : i + 1], seed)[0] for i in range(len(images))]


def _problem(outputs: Any, images: np.ndarray) -> str | None:
    if not isinstance(outputs, np.ndarray):
        return f"returned {type(outputs).__name__}, not an array"
    if outputs.shape != images.shape:
        return f"returned shape {outputs.shape[1:]}, not {images.shape[1:]}"
    if outputs.dtype != np.uint8:
        unreal = outputs.dtype.kind == "f" and not np.isfinite(outputs).all()
        return f"returned {outputs.dtype}{' with NaN or infinity' if unreal else ''}, not uint8"
    return None


def _key(record: FaceRecord, seed: int) -> str:
    """Return the secret of one image: reproducible, and different for every image."""
    return sha256(f"openmema key {seed} {record.image_id}".encode()).hexdigest()


def _published(record: FaceRecord) -> FaceRecord:
    """Return the record of a de-identified image: the same face, made from the original."""
    return record.model_copy(update={"has_mask": False, "provenance": Provenance(parents=(record.image_id,))})
