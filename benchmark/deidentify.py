"""De-identify a split without trusting who does it: what is not delivered becomes a failure, never a crash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from mema.errors import UserError
from mema.files import read_json, write_json
from mema.imageset import Face, ImageSet, write_imageset
from mema.photos import load_photo
from mema.records import FaceRecord, Provenance
from mema.result import Failure

# What is delivered for a batch of images, uint8 (N, H, W, 3), and their records: per image the output, uint8
# (H, W, 3), or the reason why there is none.
Deliver = Callable[[np.ndarray, Sequence[FaceRecord]], Sequence[np.ndarray | str]]

FORMATS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def deidentify_set(
    deliver: Deliver, source: ImageSet, path: Path, *, batch_size: int, config: dict[str, Any]
) -> tuple[ImageSet, list[Failure]]:
    """Write what ``deliver`` makes of ``source`` to ``path`` in the same order; return it and the failures.

    A failed image is written black, and its reason lies beside its shard, so that a resumed run reports it too.
    ``config`` names all that determines the output.
    """
    images, records = source.images(), source.records()

    def make(start: int, stop: int) -> list[Face]:
        faces = []
        reasons = {}
        for first in range(start, stop, batch_size):
            batch = slice(first, min(first + batch_size, stop))
            for record, output in zip(records[batch], deliver(images[batch], records[batch]), strict=True):
                if isinstance(output, str):
                    reasons[record.image_id] = output
                    output = np.zeros_like(images[0])
                faces.append(Face(_published(record), output))
        write_json(path / f"failures-{start:07d}.json", reasons)
        return faces

    written = write_imageset(path, len(records), make, config=config, label=path.parent.name)
    failures = [
        Failure(image_id=image_id, reason=reason)
        for file in sorted(path.glob("failures-*.json"))
        for image_id, reason in read_json(file).items()
    ]
    return written, failures


def from_method(method: Any, seed: int) -> Deliver:
    """Return what delivers the outputs of a Deidentifier, each image with a key of its own."""

    def deliver(images: np.ndarray, records: Sequence[FaceRecord]) -> Sequence[np.ndarray | str]:
        return apply_method(method, images, [_key(record, seed) for record in records], seed)

    return deliver


def from_folder(folder: Path) -> Deliver:
    """Return what delivers images that some other tool made: ``<image_id>.png`` (or .jpg, …) in ``folder``."""

    def read(record: FaceRecord, original: np.ndarray) -> np.ndarray | str:
        paths = [folder / f"{record.image_id}{suffix}" for suffix in FORMATS]
        try:
            output = load_photo(next((path for path in paths if path.is_file()), paths[0]))
        except UserError as error:
            return str(error)
        return _problem(output, original) or output

    def deliver(images: np.ndarray, records: Sequence[FaceRecord]) -> Sequence[np.ndarray | str]:
        return [read(record, image) for record, image in zip(records, images, strict=True)]

    return deliver


def apply_method(method: Any, images: np.ndarray, keys: Sequence[str], seed: int) -> Sequence[np.ndarray | str]:
    """Return for each image its output, uint8 (H, W, 3), or the reason why there is none.

    A batch that fails is tried again image by image, so that one bad image costs no other. A UserError is passed
    on: it says what is missing on this machine.
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


def _problem(output: Any, wanted: np.ndarray) -> str | None:
    """Return what is wrong with an output that should have the shape and dtype of ``wanted``, or None."""
    if not isinstance(output, np.ndarray):
        return f"returned {type(output).__name__}, not an array"
    if output.shape != wanted.shape:
        return f"returned shape {output.shape}, not {wanted.shape}"
    if output.dtype != np.uint8:
        unreal = output.dtype.kind == "f" and not np.isfinite(output).all()
        return f"returned {output.dtype}{' with NaN or infinity' if unreal else ''}, not uint8"
    return None


def _key(record: FaceRecord, seed: int) -> str:
    """Return the secret of one image: reproducible, and different for every image."""
    return sha256(f"openmema key {seed} {record.image_id}".encode()).hexdigest()


def _published(record: FaceRecord) -> FaceRecord:
    """Return the record of a de-identified image: the same face, made from the original."""
    return record.model_copy(update={"has_mask": False, "provenance": Provenance(parents=(record.image_id,))})
