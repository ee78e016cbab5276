"""Release: what was kept and accepted, cut into splits, with its documents and checksums (MeMa, Step 3).

``mema release build --config configs/demo.yaml`` builds ``Build.release``; :mod:`curation.publish` versions it. It is
refused while the audit or the review is not complete. The same inputs give the same bytes.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from curation.documents import AGREEMENT, Head, write_documents
from curation.duplicates import thumbnail
from curation.gate import check_complete
from curation.making import Making, Tombstone, read_ledger, read_tombstones, write_ledger, write_tombstones
from curation.placing import Pictures, place
from curation.reading import copier
from curation.report import REPORT
from curation.splits import assign_splits
from mema.annotations import TABLE, Annotation, Consensus, majority_mask, read_mask, to_csv
from mema.build import Build
from mema.config import Config
from mema.errors import UserError
from mema.files import atomic_write, replace_folder, sha256_json
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord, Split
from mema.release import SEGMENTATION, SPLITS, Release

# MeMa-Seg has a train and a validation part: what is not trained on in the whole is not trained on in the subset.
SEGMENTATION_SPLITS: dict[Split, tuple[Split, ...]] = {"train": ("train",), "validation": ("selection", "validation")}


class Shares(Config):
    """Relative sizes of the splits; the default is MeMa's 34,000, 3,729 and 4,578 images."""

    train: float = Field(default=34_000, gt=0)
    selection: float = Field(default=3_729, gt=0)
    validation: float = Field(default=4_578, gt=0)


class ReleaseConfig(Config):
    """``phantom`` says whether the patients behind it are phantoms; it stands on the card.

    ``previous`` is the folder of the release that this one continues: its images keep their splits. Images whose
    thumbnails differ by less than ``group_rms`` grey levels stay in one split. A release needs an audit by at least
    ``min_recognisers`` recognisers and ``min_annotators`` annotators of each image. ``date`` (YYYY-MM-DD) is when it is
    published.
    """

    version: str = Field(pattern=r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$")
    phantom: bool
    licence: str = "cc-by-4.0"
    date: str | None = Field(default=None, pattern=r"^\d{4}-\d{2}-\d{2}$")
    previous: Path | None = None
    shares: Shares = Shares()
    group_rms: float = Field(default=6.0, ge=0)
    min_recognisers: int = Field(default=3, ge=1)
    min_annotators: int = Field(default=1, ge=1)


def build_release(build: Build, *, previous: Path | None = None) -> Release:
    """Build ``Build.release`` and return it; ``previous`` goes before the one that the configuration names.

    UserError lists every reason why the audit or the review is not complete; it says, too, when the version does not
    follow the previous one, when an image would have to change its split, and when there is too little to fill them.
    """
    config = build.section("release", ReleaseConfig)
    before = open_previous(build, config, previous or config.previous)
    complete = check_complete(build, min_recognisers=config.min_recognisers, min_annotators=config.min_annotators)
    records = complete.kept.records()
    gone = read_tombstones(before.folder) if before else []
    taken_out = {one.image_id for one in gone}
    accepted = {
        row: _annotated(record, complete.consensus[record.image_id])
        for row, record in enumerate(records)
        if complete.consensus[record.image_id].accept and record.image_id not in taken_out
    }
    final = _split(complete.kept, accepted, before, config)
    annotations = [one for one in complete.annotations if one.image_id not in taken_out]

    staging = build.release.with_name(f".{build.release.name}.building")
    prepare(staging)
    origin = {
        "stage": "release",
        "kept": complete.kept.digest,
        "annotations": sha256_json([one.model_dump(mode="json") for one in annotations]),
        "previous": before.digest if before else None,
        "release": config.model_dump(mode="json", exclude={"previous"}),
    }
    by_image: dict[str, list[Annotation]] = defaultdict(list)
    for one in annotations:
        by_image[one.image_id].append(one)

    def finished(row: int, face: Face) -> Face:
        mask = agreed_mask(build.annotations, by_image[final[row].image_id], face.image.shape[:2])
        return Face(final[row], face.image, face.mask if mask is None else mask)

    for split in SPLITS:
        chosen = [row for row, record in final.items() if record.split == split]
        make = copier(complete.kept, chosen, finished)
        write_imageset(staging / split, len(chosen), make, config={**origin, "split": split}, label=split)
    write_segmentation(staging)
    shutil.copyfile(build.audit / REPORT, staging / REPORT)
    if (build.annotations / AGREEMENT).is_file():
        shutil.copyfile(build.annotations / AGREEMENT, staging / AGREEMENT)
    atomic_write(staging / TABLE, to_csv(annotations))
    Making(
        licence=config.licence,
        date=config.date,
        pixels=build.size,
        group_rms=config.group_rms,
        min_annotators=config.min_annotators,
        rejected=complete.filtering["rejected"],
        declined=sum(not one.accept for one in complete.consensus.values()),
        left_out=len(accepted) - len(final),
    ).write(staging)
    head = Head(build.name, config.version, build.clinic, config.phantom)
    return finish(staging, build.release, head, before, gone)


def open_previous(build: Build, config: ReleaseConfig, folder: Path | None) -> Release | None:
    """Return the whole and unchanged release in ``folder``, which ``config.version`` must follow; None without one."""
    if folder is None:
        return None
    if folder.resolve() == build.release.resolve():
        raise UserError(f"release.previous: {folder} is where the release is built: publish it and name the copy")
    before = Release.open(folder)
    before.verify()
    if (before.name, before.clinic, before.phantom) != (build.name, build.clinic, config.phantom):
        raise UserError(f"release.previous: {folder} is '{before.name}', another dataset than '{build.name}'")
    if number(config.version) <= number(before.version):
        raise UserError(f"release.version: {config.version} does not follow {before.version}, the version in {folder}")
    return before


def number(version: str) -> tuple[int, ...]:
    """Return a semantic version as numbers that sort."""
    return tuple(map(int, version.split(".")))


def prepare(staging: Path) -> None:
    """Remove what an interrupted run left half-written; it would be hashed with the rest."""
    for part in staging.rglob(".*.part"):
        part.unlink()
    for file in staging.glob("*"):
        if file.is_file():
            file.unlink()


def write_segmentation(folder: Path) -> None:
    """Write ``seg/``, the images of the splits in ``folder`` that have a mask; a part without images is not written."""
    for target, sources in SEGMENTATION_SPLITS.items():
        sets = [ImageSet.open(folder / split) for split in sources]
        count = sum(record.has_mask for one in sets for record in one.records())
        place = folder / SEGMENTATION / target
        if count == 0:
            shutil.rmtree(place, ignore_errors=True)
            continue
        origin = {"stage": "segmentation", "sources": [one.digest for one in sets], "split": target}
        write_imageset(place, count, _masked(sets, target), config=origin, label=f"{SEGMENTATION} {target}")


def finish(staging: Path, folder: Path, head: Head, before: Release | None, gone: Sequence[Tombstone]) -> Release:
    """Write ledger, tombstones and documents of a release whose images lie in ``staging``, and put it in ``folder``."""
    ledger = read_ledger(before.folder) if before else {}
    ledger |= {record.image_id: split for split in SPLITS for record in ImageSet.open(staging / split).records()}
    write_ledger(staging, ledger)
    write_tombstones(staging, gone)
    annotators, machine = write_documents(staging, head, before)
    Release.seal(
        staging,
        name=head.name,
        version=head.version,
        clinic=head.clinic,
        phantom=head.phantom,
        machine_annotated=machine,
        annotators=annotators,
        previous=before,
    )
    replace_folder(staging, folder)
    return Release.open(folder)


def _annotated(record: FaceRecord, consensus: Consensus) -> FaceRecord:
    """The annotators' disease and severity replace the planned ones, which stay legible in the prompt."""
    provenance = record.provenance.model_copy(update={"annotator": "; ".join(consensus.annotators)})
    return record.model_copy(
        update={"disease": consensus.disease, "severity": consensus.severity, "provenance": provenance}
    )


def _split(
    kept: ImageSet, accepted: Mapping[int, FaceRecord], before: Release | None, config: ReleaseConfig
) -> dict[int, FaceRecord]:
    """Return the records with their splits, by row; those that would join two splits are left out."""
    if not accepted:
        raise UserError("no image was accepted: there is nothing to release")
    now = Pictures(list(accepted.values()), thumbnails([kept], set(accepted)))
    known = read_ledger(before.folder) if before else {}
    sets = [before.imageset(split) for split in SPLITS] if before else []
    earlier = Pictures([record for one in sets for record in one.records()], thumbnails(sets))
    placing = place(now, earlier, known, config.group_rms)
    placed = [
        (row, record, group)
        for (row, record), group in zip(accepted.items(), placing.groups, strict=True)
        if group is not None
    ]
    splits = assign_splits(
        [group for *_, group in placed],
        [record.disease or "" for _, record, _ in placed],
        config.shares.model_dump(),
        placing.fixed,
    )
    return {
        row: record.model_copy(update={"split": split}) for (row, record, _), split in zip(placed, splits, strict=True)
    }


def thumbnails(sets: Sequence[ImageSet], rows: set[int] | None = None) -> np.ndarray:
    """Return the thumbnails of all faces, or of those ``rows``, float32 (N, 768); one shard in memory at a time."""
    faces = enumerate(chain.from_iterable(one.faces() for one in sets))
    found = [thumbnail(face.image) for row, face in faces if rows is None or row in rows]
    return np.stack(found) if found else np.empty((0, 768), np.float32)


def agreed_mask(folder: Path, annotations: Sequence[Annotation], shape: tuple[int, ...]) -> np.ndarray | None:
    """Return what more than half of the masks of an image's last round hold, bool (H, W); None without a mask."""
    last = max(one.round for one in annotations)
    masks = [read_mask(folder, one) for one in annotations if one.round == last and one.accept]
    drawn = [mask for mask in masks if mask is not None]
    if any(mask.shape != shape for mask in drawn):
        raise UserError(f"{folder}: a mask of {annotations[0].image_id} is not of its size, {shape[1]} x {shape[0]}")
    return majority_mask(drawn) if drawn else None


def _masked(sets: Sequence[ImageSet], split: Split) -> Any:
    faces = (face for one in sets for face in one.faces() if face.mask is not None)
    position = 0

    def make(start: int, stop: int) -> Iterator[Face]:
        nonlocal position
        for record, image, mask in islice(faces, start - position, stop - position):
            yield Face(record.model_copy(update={"split": split}), image, mask)
        position = stop

    return make
