"""What attackers have: photos of their own people before and after a method, and what they are to trace.

Three sets of people never overlap: those on whom the shipped recognisers were trained (background), those of the
release's training split (the attackers' own, whom they had de-identified), and those of its validation split, who are
traced. An attacker does not hold the very photo that was de-identified: his gallery holds *other photos* of the same
people. Virtual patients have one photo each, so that another is made of it by moving it, relighting it and degrading
it. Pose and expression stay, which favours the attacker: rates are upper bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.deidentify import Deliver, deidentify_set, image_key
from mema.errors import UserError
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord

# Opens de-identified images, uint8 (N, H, W, 3), with a key each: per image the result or why there is none.
Recover = Callable[[np.ndarray, Sequence[str]], Sequence[np.ndarray | str]]

OTHER = ".other"


class Learning(NamedTuple):
    """The attackers' own photos, ``clear`` and ``deidentified``, uint8 (L, H, W, 3), and whose they are (L,)."""

    clear: np.ndarray
    deidentified: np.ndarray
    people: list[str]


class Target(NamedTuple):
    """Whom attackers are to trace; all images are uint8 (N, H, W, 3), in the order of ``subjects`` (N,).

    ``probes`` are de-identified, ``gallery`` holds other photos, clear; ``enrolled`` those, de-identified with other
    keys, ``reused`` with the probes' own keys. ``recovered`` and ``nearly`` are the probes opened with the right key
    and with one that differs in one bit. What a method does not have is None.
    """

    probes: np.ndarray
    gallery: np.ndarray
    subjects: list[str]
    enrolled: np.ndarray | None = None
    reused: np.ndarray | None = None
    recovered: np.ndarray | None = None
    nearly: np.ndarray | None = None


class Material(NamedTuple):
    """A method's part of ``Learning`` and ``Target``, as ``gather`` wrote it; None where the method gave nothing.

    ``withheld`` names the images of ``learning`` that it did not deliver.
    """

    learning: ImageSet | None
    withheld: frozenset[str] = frozenset()
    enrolled: ImageSet | None = None
    reused: ImageSet | None = None
    recovered: ImageSet | None = None
    nearly: ImageSet | None = None


def write_other_photos(originals: ImageSet, path: Path, seed: int) -> ImageSet:
    """Write another photo of every original, ``<image_id>.other``; the same seed gives the same photos."""
    images, records = originals.images(), originals.records()

    def make(start: int, stop: int) -> Iterator[Face]:
        for row in range(start, stop):
            yield _other(Face(records[row], images[row]), [seed, 0, row])

    return write_imageset(path, len(records), make, config={"originals": originals.digest, "seed": seed})


def other_photos(images: np.ndarray, seed: int | Sequence[int]) -> np.ndarray:
    """Return ``images``, uint8 (N, H, W, 3), moved, relit, blurred and made noisy, each in its own way."""
    import torch

    from mema.augment import Augmentation, augment
    from mema.classifier import as_tensor

    # Mirrored, a face with a sign on one side is another face.
    changes = Augmentation(flip=False, shift=0.06, brightness=0.25, contrast=0.25, colour=0.08, noise=0.03, blur=1.0)
    state = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1))
    changed = augment(as_tensor(images), changes, torch.Generator().manual_seed(state))
    other: np.ndarray = (changed * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return other


def write_own_photos(train: ImageSet, path: Path, count: int, seed: int) -> ImageSet:
    """Write the photos that attackers have de-identified, ``count`` evenly taken ones of the training split.

    Where the split has fewer, another photo of each, ``<image_id>.other``, comes after them; the same seed gives the
    same photos.
    """
    there = train.count if count <= train.count else 2 * train.count
    chosen = np.unique(np.linspace(0, there - 1, min(count, there)).round().astype(int))
    wanted = set(chosen % train.count)
    faces = {row: face for row, face in enumerate(train.faces()) if row in wanted}

    def make(start: int, stop: int) -> Iterator[Face]:
        for row in chosen[start:stop]:
            face = faces[row % train.count]
            if row < train.count:
                yield Face(face.record.model_copy(update={"has_mask": False}), face.image)
            else:
                yield _other(face, [seed, 1, int(row) % train.count])

    return write_imageset(path, len(chosen), make, config={"train": train.digest, "count": count, "seed": seed})


def gather(
    folder: Path,
    deliver: Deliver,
    recover: Recover | None,
    *,
    own: ImageSet,
    others: ImageSet,
    probes: ImageSet,
    batch_size: int,
    seed: int,
    config: dict,
) -> Material:
    """Ask a method for all that attackers may have of it, into ``folder``; what is there already is not asked again.

    ``own`` are the attackers' photos, ``others`` the gallery, ``probes`` what the method delivered; ``recover`` is
    None for a method that is not reversible, ``config`` names what determines its output. A set of which the method
    delivers less than half counts as not given.
    """

    def ask(name: str, source: ImageSet, answer: Deliver) -> tuple[ImageSet | None, frozenset[str]]:
        written, failures = deidentify_set(
            answer,
            source,
            folder / name,
            batch_size=batch_size,
            config={**config, "attack": name, "source": source.digest, "seed": seed},
        )
        enough = 2 * len(failures) <= written.count
        return written if enough else None, frozenset(failure.image_id for failure in failures)

    material = Material(*ask("learning", own, deliver), ask("enrolled", others, deliver)[0])
    if recover is None:
        return material

    def with_own_key(images: np.ndarray, records: Sequence[FaceRecord]) -> Sequence[np.ndarray | str]:
        return deliver(images, [_original(record) for record in records])

    def opened(change: Callable[[str], str]) -> Deliver:
        return lambda images, records: recover(images, [change(image_key(record, seed)) for record in records])

    return material._replace(
        reused=ask("reused", others, with_own_key)[0],
        recovered=ask("recovered", probes, opened(lambda key: key))[0],
        nearly=ask("nearly", probes, opened(one_bit_away))[0],
    )


def one_bit_away(key: str) -> str:
    """Return a hexadecimal ``key`` with the lowest bit of its last digit turned."""
    return f"{key[:-1]}{int(key[-1], 16) ^ 1:x}"


def learning_of(own: ImageSet, material: Material) -> Learning | None:
    """Return what attackers can learn from, without what the method did not deliver; None when it gave nothing."""
    if material.learning is None:
        return None
    records = own.records()
    given = [row for row, record in enumerate(records) if record.image_id not in material.withheld]
    return Learning(own.images()[given], material.learning.images()[given], [records[row].subject_id for row in given])


def target_of(probes: ImageSet, others: ImageSet, material: Material) -> Target:
    """Return whom attackers are to trace in ``probes``."""
    subjects = [record.subject_id for record in probes.records()]
    sets = (material.enrolled, material.reused, material.recovered, material.nearly)
    return Target(probes.images(), others.images(), subjects, *[None if one is None else one.images() for one in sets])


def check_disjoint(own: ImageSet, probes: ImageSet) -> None:
    """Raise UserError unless attackers' own people and those to be traced are different ones."""
    shared = {record.subject_id for record in own.records()} & {record.subject_id for record in probes.records()}
    if shared:
        raise UserError(f"{len(shared)} subjects are in the training and in the validation split: attackers know them")


def _other(face: Face, seed: Sequence[int]) -> Face:
    record = face.record.model_copy(update={"image_id": face.record.image_id + OTHER, "has_mask": False})
    return Face(record, other_photos(face.image[None], seed)[0])


def _original(record: FaceRecord) -> FaceRecord:
    return record.model_copy(update={"image_id": record.image_id.removesuffix(OTHER)})
