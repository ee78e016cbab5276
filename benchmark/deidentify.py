"""De-identify a split without trusting who does it: what is not delivered becomes a failure, never a crash."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Sequence, Set
from functools import cache
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
REASON_LENGTH = 200
MISSING = "no image of this id"


def deidentify_set(
    deliver: Deliver, source: ImageSet, path: Path, *, batch_size: int, config: dict[str, Any]
) -> tuple[ImageSet, list[Failure]]:
    """Write what ``deliver`` makes of ``source`` to ``path`` in the same order; return it and the failures.

    A failed image is written black, and its reason lies beside its shard, so that a resumed run reports it too. Each
    batch is a shard: a killed run loses one batch. ``config`` names all that determines the output.
    """
    images, records = source.images(), source.records()

    def make(start: int, stop: int) -> list[Face]:
        faces = []
        reasons = {}
        outputs = deliver(images[start:stop], records[start:stop])
        for record, output in zip(records[start:stop], outputs, strict=True):
            if isinstance(output, str):
                reasons[record.image_id] = output
                output = np.zeros_like(images[0])
            faces.append(Face(_published(record), output))
        write_json(path / f"failures-{start:07d}.json", reasons)
        return faces

    written = write_imageset(path, len(records), make, config=config, shard_size=batch_size, label=path.parent.name)
    failures = [
        Failure(image_id=image_id, reason=reason)
        for file in sorted(path.glob("failures-*.json"))
        for image_id, reason in read_json(file).items()
    ]
    return written, failures


def from_method(method: Any, seed: int) -> Deliver:
    """Return what delivers the outputs of a Deidentifier, each image with a key of its own."""

    def deliver(images: np.ndarray, records: Sequence[FaceRecord]) -> Sequence[np.ndarray | str]:
        return apply_method(method, images, [image_key(record, seed) for record in records], seed)

    return deliver


def from_folder(folder: Path, known: Set[str]) -> Deliver:
    """Return what delivers images that some other tool made: ``<image_id>.png`` (or .jpg, …), ids of ``known``."""
    strangers = len(strange_files(folder, known))

    def deliver(images: np.ndarray, records: Sequence[FaceRecord]) -> Sequence[np.ndarray | str]:
        pairs = zip(records, images, strict=True)
        return [explained(read_output(folder, record.image_id, image.shape)) for record, image in pairs]

    def explained(output: np.ndarray | str) -> np.ndarray | str:
        if strangers and isinstance(output, str) and output == MISSING:
            return f"{MISSING}; the folder holds {strangers} files of other ids"
        return output

    return deliver


def strange_files(folder: Path, image_ids: Set[str]) -> list[str]:
    """Return the names of the files in ``folder`` that are an image of none of ``image_ids``, sorted."""
    return sorted(
        file.name
        for file in folder.iterdir()
        if not file.name.startswith(".") and not (file.suffix.lower() in FORMATS and file.stem in image_ids)
    )


def read_output(folder: Path, image_id: str, shape: tuple[int, ...]) -> np.ndarray | str:
    """Return the image of ``image_id`` in ``folder``, uint8 of ``shape`` (H, W, 3), or why there is none."""
    path = next((path for suffix in FORMATS if (path := folder / f"{image_id}{suffix}").is_file()), None)
    if path is None:
        return MISSING
    try:
        output = load_photo(path)
    except UserError as error:
        return str(error)
    return problem_of(output[None], (1, *shape)) or output


def apply_method(method: Any, images: np.ndarray, keys: Sequence[str], seed: int) -> Sequence[np.ndarray | str]:
    """Return for each image what the method makes of it, uint8 (H, W, 3), or the reason why there is none."""
    return guarded(lambda batch, batch_keys: method.deidentify(batch, keys=batch_keys, seed=seed), images, keys)


def guarded(
    call: Callable[[np.ndarray, list[str]], Any], images: np.ndarray, keys: Sequence[str]
) -> Sequence[np.ndarray | str]:
    """Return for each image what ``call`` makes of it, uint8 (H, W, 3), or the reason why there is none.

    A batch that fails is tried again image by image, so that one bad image costs no other. A UserError is passed
    on: it says what is missing on this machine.
    """
    try:
        outputs = call(images.copy(), list(keys))
        problem = problem_of(outputs, images.shape)
        if problem is None:
            return list(outputs)
    except UserError:
        raise
    except Exception as error:  # the method is foreign code: whatever it raises is its failure, not ours
        problem = reason_of(error)
    if len(images) == 1:
        return [problem]
    return [guarded(call, images[i : i + 1], keys[i : i + 1])[0] for i in range(len(images))]


def problem_of(outputs: Any, shape: tuple[int, ...]) -> str | None:
    """Return what is wrong with outputs that should be uint8 of ``shape`` (N, H, W, 3), or None."""
    if not isinstance(outputs, np.ndarray):
        return f"returned {type(outputs).__name__}, not an array"
    if outputs.ndim != 4 or outputs.shape[3] != 3:
        return f"returned shape {outputs.shape}, not {shape}"
    if outputs.dtype != np.uint8:
        unreal = outputs.dtype.kind == "f" and not np.isfinite(outputs).all()
        return f"returned {outputs.dtype}{' with NaN or infinity' if unreal else ''}, not uint8"
    if len(outputs) != shape[0]:
        return f"returned {len(outputs)} images for {shape[0]}"
    if outputs.shape != shape:
        height, width = outputs.shape[1:3]
        return f"returned {width} x {height} pixels, not {shape[2]} x {shape[1]}"
    return None


def reason_of(error: Exception) -> str:
    """Return an exception as one line for a result; its traceback is shown to whoever runs the method."""
    reason = public(f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}")
    _show_traceback(reason)
    return reason


def public(text: str) -> str:
    """Return ``text`` as a result may publish it: one short printable line, and of paths only the last part."""
    return one_line(re.sub(r"/(?:[^\s/'\":,;]+/)+", "…/", text))


def one_line(text: str, length: int = REASON_LENGTH) -> str:
    """Return ``text`` as one printable line of at most ``length`` letters."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()[:length]


@cache
def _show_traceback(reason: str) -> None:
    """Print the exception that is being handled, once for each ``reason``: thousands of images may share it."""
    traceback.print_exc()


def image_key(record: FaceRecord, seed: int) -> str:
    """Return the secret of one image: reproducible, and different for every image."""
    return sha256(f"openmema key {seed} {record.image_id}".encode()).hexdigest()


def _published(record: FaceRecord) -> FaceRecord:
    """Return the record of a de-identified image: the same face, made from the original."""
    return record.model_copy(update={"has_mask": False, "provenance": Provenance(parents=(record.image_id,))})
