"""Retract: take images out of a published release, which makes its next version.

Nobody who withdraws consent waits for an audit or a review: a retraction starts from a finished release, adds nothing,
changes no label and moves nothing. It is a patch (1.4.0 becomes 1.4.1): what reads the one reads the other. The images
taken out are listed in ``tombstones.csv`` with a category; no donor or patient is named, and no later version that
continues this one takes them in again.
"""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from curation.audit import NEAREST
from curation.comparison import records_of
from curation.documents import AGREEMENT, Head
from curation.making import Category, Making, Tombstone, read_tombstones
from curation.reading import copier
from curation.release import finish, number, prepare, write_segmentation
from curation.report import REPORT, AuditReport
from mema.annotations import TABLE, read_table, to_csv
from mema.build import Build
from mema.errors import UserError
from mema.files import atomic_write, read_json, sha256_json
from mema.imageset import ImageSet, write_imageset
from mema.release import SPLITS, Release
from mema.taxonomy import load_taxonomy


def newest(build: Build) -> Path:
    """Return the folder of the highest published version; UserError when nothing was published."""
    home = build.data / build.name
    versions = [place.parent for place in home.glob("*/release.json")]
    if not versions:
        raise UserError(f"{home} holds no published release: run `mema release publish` first")
    return max(versions, key=lambda place: number(Release.read(place).version))


def retract(
    build: Build,
    folder: Path,
    *,
    images: Collection[str] = (),
    donors: Collection[str] = (),
    patients: Path | None = None,
) -> Release:
    """Make the next patch version of the release in ``folder``, beside it, without what is named; return it.

    ``images`` are image ids, ``donors`` donor ids; ``patients`` is a private file with one subject id of the cohort per
    line: images go whose nearest patient is one of them, by any recogniser of the audit. UserError when the release is
    not whole, a name is unknown, nothing is left to take out, a split would be empty, or the next version exists.
    """
    release = Release.open(folder)
    release.verify()
    reasons = chosen(build, release, images=images, donors=donors, patients=patients)
    if not reasons:
        raise UserError(f"{folder}: no image of this release is concerned, so there is no new version")
    major, minor, patch = number(release.version)
    version = f"{major}.{minor}.{patch + 1}"
    target = folder.with_name(version)
    if target.exists():
        raise UserError(f"{target} exists: retract from the newest version")
    keep = {
        split: [row for row, one in enumerate(release.imageset(split).records()) if one.image_id not in reasons]
        for split in SPLITS
    }
    empty = next((split for split in SPLITS if not keep[split]), None)
    if empty:
        raise UserError(f"the split '{empty}' would be empty: build a new release without these images")
    staging = target.with_name(f".{version}.building")
    prepare(staging)
    origin = {"stage": "retract", "release": release.digest, "images": sha256_json(sorted(reasons))}
    for split, rows in keep.items():
        source = release.imageset(split)
        write_imageset(staging / split, len(rows), copier(source, rows), config={**origin, "split": split}, label=split)
    write_segmentation(staging)
    annotations = read_table(folder / TABLE, load_taxonomy(release.clinic))
    atomic_write(staging / TABLE, to_csv(one for one in annotations if one.image_id not in reasons))
    shutil.copyfile(folder / REPORT, staging / REPORT)
    if (folder / AGREEMENT).is_file():
        shutil.copyfile(folder / AGREEMENT, staging / AGREEMENT)
    Making.load(folder).model_copy(update={"date": None, "left_out": 0}).write(staging)
    gone = [*read_tombstones(folder), *(Tombstone(image_id, version, why) for image_id, why in reasons.items())]
    head = Head(release.name, version, release.clinic, release.phantom)
    return finish(staging, target, head, release, gone)


def chosen(
    build: Build, release: Release, *, images: Collection[str], donors: Collection[str], patients: Path | None
) -> dict[str, Category]:
    """Return image id -> category of what is to be taken out; a person's wish goes before a fault."""
    records = records_of(release)
    known = records.keys() | {one.image_id for one in read_tombstones(release.folder)}
    unknown = next((image_id for image_id in images if image_id not in known), None)
    if unknown is not None:
        raise UserError(f"{release.folder} has no image '{unknown}'")
    reasons: dict[str, Category] = {image_id: "fault" for image_id in images if image_id in records}
    if patients is not None:
        nearest = _nearest(build, release, _patients(build, patients))
        reasons |= {image_id: "patient-withdrew" for image_id in nearest if image_id in records}
    for image_id, record in records.items():
        if {record.provenance.donor_id, *record.provenance.parents} & set(donors):
            reasons[image_id] = "donor-withdrew"
    return dict(sorted(reasons.items()))


def summary(reasons: Sequence[Tombstone], version: str) -> Mapping[str, int]:
    """Return how many images ``version`` took out, by category."""
    return Counter(one.reason for one in reasons if one.version == version)


def _patients(build: Build, path: Path) -> set[str]:
    """Read the private list; an error names a line, never what stands on it."""
    try:
        lines = [row[0].strip() if row else "" for row in csv.reader(path.read_text(encoding="utf-8").splitlines())]
    except (OSError, UnicodeDecodeError, csv.Error):
        raise UserError("the list of patients cannot be read: it is UTF-8 text, one id per line") from None
    known = {record.subject_id for record in ImageSet.open(build.cohort).records()}
    strange = next((row for row, line in enumerate(lines, 1) if line and line not in known), None)
    if strange is not None:
        raise UserError(f"the list of patients, line {strange}: no such subject in the cohort")
    return {line for line in lines if line}


def _nearest(build: Build, release: Release, patients: Collection[str]) -> set[str]:
    """Return the images whose nearest patient is one of ``patients``, by the private table of the release's audit."""
    table = build.private_audit / NEAREST
    if not table.is_file():
        raise UserError("the audit's private table is missing: run `mema curate audit` on the release's candidates")
    if AuditReport.load(build.audit).candidates != read_json(release.folder / REPORT)["candidates"]:
        raise UserError(f"{build.audit}: the audit is of other candidates than those of {release.folder}")
    rows = pq.read_table(table, columns=["image_id", "gallery", "patient_id"]).to_pylist()
    return {row["image_id"] for row in rows if row["gallery"] == "patients" and row["patient_id"] in patients}
