"""Release: what was kept and accepted, cut into splits, with card, audit and checksums (MeMa, Step 3).

``mema curate release --config configs/demo.yaml`` builds ``Build.release``; :mod:`curation.publish` versions it. It is
refused while the audit or the review is not complete. The same inputs give the same bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from curation.annotations import TABLE, Annotation, Consensus, agree, read_annotations, to_csv
from curation.card import render_card
from curation.duplicates import groups, links_of, near_pairs, thumbnail
from curation.filter import FILTER_REPORT, KEPT
from curation.reading import copier
from curation.report import REPORT, AuditReport
from curation.splits import assign_splits
from mema.build import Build
from mema.config import Config
from mema.errors import UserError
from mema.files import atomic_write, read_json, sha256_file, sha256_json
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord, Split
from mema.release import SPLITS, Release
from mema.taxonomy import load_taxonomy

CARD = "README.md"
STALE = "run `mema curate filter` again"


class Shares(Config):
    """Relative sizes of the splits; the default is MeMa's 34,000, 3,729 and 4,578 images."""

    train: float = Field(default=34_000, gt=0)
    selection: float = Field(default=3_729, gt=0)
    validation: float = Field(default=4_578, gt=0)


class ReleaseConfig(Config):
    """``phantom`` says whether the patients behind it are phantoms; it stands on the card.

    Images whose thumbnails differ by less than ``group_rms`` grey levels stay in one split. A release needs an audit
    by at least ``min_recognisers`` recognisers.
    """

    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    phantom: bool
    licence: str = "cc-by-4.0"
    shares: Shares = Shares()
    group_rms: float = Field(default=6.0, ge=0)
    min_recognisers: int = Field(default=3, ge=1)


def build_release(build: Build) -> Release:
    """Build ``Build.release`` and return it.

    UserError, with what to do, when the audit is missing, incomplete or of other candidates, when an image was not
    annotated or its annotators are divided, or when there is too little to fill the splits.
    """
    config = build.section("release", ReleaseConfig)
    kept = ImageSet.open(build.filtered / KEPT)
    audit = check_audit(build, kept, config.min_recognisers)
    filtering = read_json(build.filtered / FILTER_REPORT)
    if filtering["digest"] != kept.digest:
        raise UserError(f"{build.filtered} was not finished: {STALE}")
    taxonomy = load_taxonomy(build.clinic)
    records = kept.records()
    image_ids = [record.image_id for record in records]
    annotations = [
        one
        for one in read_annotations(build.annotations, taxonomy, candidates=audit.candidates)
        if one.image_id in set(image_ids)
    ]
    consensus = check_review(image_ids, annotations)
    rows = [row for row, record in enumerate(records) if consensus[record.image_id].accept]
    accepted = [_annotated(records[row], consensus[records[row].image_id]) for row in rows]
    splits = _splits(kept, rows, accepted, config)
    final = {
        row: record.model_copy(update={"split": split})
        for row, record, split in zip(rows, accepted, splits, strict=True)
    }

    staging = build.release.with_name(f".{build.release.name}.building")
    # What an interrupted run left half-written would be hashed with the rest.
    for part in staging.rglob(".*.part"):
        part.unlink()
    origin = {
        "stage": "release",
        "kept": kept.digest,
        "annotations": sha256_json([one.model_dump(mode="json") for one in annotations]),
        "release": config.model_dump(mode="json"),
    }
    by_split: dict[Split, list[FaceRecord]] = {}
    for split in SPLITS:
        chosen = [row for row, record in final.items() if record.split == split]
        make = copier(kept, chosen, lambda row, face: Face(final[row], face.image, face.mask))
        write_imageset(staging / split, len(chosen), make, config={**origin, "split": split}, label=split)
        by_split[split] = [final[row] for row in chosen]
    shutil.copyfile(build.audit / REPORT, staging / REPORT)
    atomic_write(staging / TABLE, to_csv(annotations))
    annotators = tuple(sorted({one.annotator for one in annotations}))
    machine = any(one.by_machine for one in annotations)
    card = render_card(
        name=build.name,
        version=config.version,
        licence=config.licence,
        phantom=config.phantom,
        machine_annotated=machine,
        annotators=annotators,
        taxonomy=taxonomy,
        records=by_split,
        pixels=build.size,
        audit=audit,
        rejected=filtering["rejected"],
        declined=len(records) - len(rows),
    )
    atomic_write(staging / CARD, card)
    Release.seal(
        staging,
        name=build.name,
        version=config.version,
        clinic=build.clinic,
        phantom=config.phantom,
        machine_annotated=machine,
        annotators=annotators,
    )
    swap(staging, build.release)
    return Release.open(build.release)


def check_audit(build: Build, kept: ImageSet, min_recognisers: int) -> AuditReport:
    """Return the audit that ``kept`` was filtered by; UserError unless it is complete and of these candidates."""
    audit = AuditReport.load(build.audit)
    candidates = ImageSet.open(build.candidates)
    if audit.candidates != candidates.digest:
        raise UserError(f"{build.audit}: the audit is of other candidates: run `mema curate audit` again")
    if kept.config.get("candidates") != candidates.digest:
        raise UserError(f"{kept.path} was filtered from other candidates: {STALE}")
    if kept.config.get("audit") != sha256_file(build.audit / REPORT):
        raise UserError(f"{kept.path} was filtered by another audit: {STALE}")
    if len(audit.recognisers) < min_recognisers:
        raise UserError(
            f"{build.audit}: the audit used {len(audit.recognisers)} recognisers, a release needs {min_recognisers}:"
            " add some to audit.recognisers"
        )
    return audit


def check_review(image_ids: Sequence[str], annotations: Sequence[Annotation]) -> dict[str, Consensus]:
    """Return the consensus on each image; UserError counts and names images without annotation or majority."""
    by_image: dict[str, list[Annotation]] = {image_id: [] for image_id in image_ids}
    for one in annotations:
        by_image[one.image_id].append(one)
    missing = [image_id for image_id, given in by_image.items() if not given]
    if missing:
        raise UserError(
            f"{TABLE}: {len(missing)} of {len(by_image)} kept images are not annotated, the first is {missing[0]}"
        )
    consensus = {image_id: agree(given) for image_id, given in by_image.items()}
    divided = [image_id for image_id, one in consensus.items() if one is None]
    if divided:
        raise UserError(
            f"{TABLE}: annotators are divided on {len(divided)} images, the first is {divided[0]}: ask another one"
        )
    return {image_id: one for image_id, one in consensus.items() if one is not None}


def swap(staging: Path, folder: Path) -> None:
    """Put the finished ``staging`` in the place of ``folder``."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging.rename(folder)


def _annotated(record: FaceRecord, consensus: Consensus) -> FaceRecord:
    """The annotators' disease and severity replace the planned ones, which stay legible in the prompt."""
    provenance = record.provenance.model_copy(update={"annotator": "; ".join(consensus.annotators)})
    return record.model_copy(
        update={"disease": consensus.disease, "severity": consensus.severity, "provenance": provenance}
    )


def _splits(kept: ImageSet, rows: Sequence[int], records: Sequence[FaceRecord], config: ReleaseConfig) -> list[Split]:
    """Images of one donor, one subject or one picture stay together."""
    import numpy as np

    if not rows:
        raise UserError("no image was accepted: there is nothing to release")
    wanted = set(rows)
    thumbnails = np.stack([thumbnail(face.image) for row, face in enumerate(kept.faces()) if row in wanted])
    links = [
        *links_of([record.provenance.donor_id for record in records]),
        *links_of([record.subject_id for record in records]),
        *near_pairs(thumbnails, config.group_rms).tolist(),
    ]
    shares = config.shares.model_dump()
    return assign_splits(groups(len(records), links), [record.disease or "" for record in records], shares)
