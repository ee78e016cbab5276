"""Verify a release: everything that it says of itself is derived again from its files.

A fault is one line. Nothing is mended, and one fault does not hide the next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from curation.duplicates import near_pairs, thumbnail
from curation.making import LEDGER, TOMBSTONES, Making, read_ledger, read_tombstones
from curation.release import SEGMENTATION_SPLITS
from mema.annotations import TABLE, read_table
from mema.errors import UserError
from mema.files import sha256_file, sha256_json
from mema.imageset import ImageSet
from mema.records import FaceRecord, Split
from mema.release import CHECKSUMS, SEGMENTATION, SPLITS, Release, checksums, listing
from mema.taxonomy import load_taxonomy


class Seen(NamedTuple):
    """One image of a set: its record, its thumbnail, and whether a mask lay beside it."""

    record: FaceRecord
    thumbnail: np.ndarray
    masked: bool


def verify_release(folder: Path, previous: Path | None = None) -> list[str]:
    """Return every fault of the release in ``folder``; none is an empty list.

    ``previous`` is the version that it continues; without it a folder beside this one that bears that version's number
    is taken, if it is there. UserError when there is no readable ``release.json``.
    """
    release = Release.read(folder)
    sets: dict[str, list[Seen]] = {}
    faults = list(_files(release))
    masked = {f"{SEGMENTATION}/{split}": count for split, count in release.masks.items()}
    for place, count in [*release.counts.items(), *masked.items()]:
        sets[place] = []
        faults += _read(folder, place, count, sets[place])
    main: dict[Split, list[Seen]] = {split: sets.get(split, []) for split in SPLITS}
    faults += _groups(folder, main)
    faults += _masks(main, {split: sets[f"{SEGMENTATION}/{split}"] for split in release.masks})
    splits = {one.record.image_id: split for split in SPLITS for one in main[split]}
    faults += _annotated(release, splits)
    faults += _history(folder, release, splits, previous or _beside(release))
    return faults


def _files(release: Release) -> Iterable[str]:
    present = set(listing(release.folder))
    for file, sha in release.files.items():
        if file not in present:
            yield f"{file}: is missing"
        elif sha256_file(release.folder / file) != sha:
            yield f"{file}: is not what was released (its sha256 differs)"
    for file in sorted(present - release.files.keys()):
        yield f"{file}: is not part of the release"
    if sha256_json(release.files) != release.digest:
        yield "release.json: the digest is not that of the files it lists"
    table = release.folder / CHECKSUMS
    if not table.is_file():
        yield f"{CHECKSUMS}: is missing"
    elif table.read_bytes() != checksums(release.files).encode():
        yield f"{CHECKSUMS}: does not list what release.json lists"


def _read(folder: Path, place: str, count: int, seen: list[Seen]) -> Iterable[str]:
    """Open every shard, decode every image, and append what was ``seen``."""
    split = place.rpartition("/")[2]
    try:
        source = ImageSet.open(folder / place)
    except UserError as error:
        return [str(error)]
    faults = []
    if {shard["name"] for shard in source.shards} != {file.name for file in (folder / place).glob("*.parquet")}:
        faults.append(f"{place}: its shards are not those of its marker")
    for shard in source.shards:
        marker = {"count": shard["count"], "digest": source.digest, "config": {}, "shards": [shard]}
        try:
            for face in ImageSet(folder / place, marker).faces():
                seen.append(Seen(face.record, thumbnail(face.image), face.mask is not None))
                faults += _face(place, split, face.record, face.image.shape, face.mask)
        except (UserError, pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            faults.append(f"{place}/{shard['name']}: cannot be read ({str(error).splitlines()[0]})")
    if len(seen) != count:
        faults.append(f"{place}: holds {len(seen)} images, release.json says {count}")
    return faults


def _face(place: str, split: str, record: FaceRecord, shape: tuple[int, ...], mask: np.ndarray | None) -> list[str]:
    faults = []
    if record.split != split:
        faults.append(f"{place}: {record.image_id} says that its split is '{record.split}'")
    if record.has_mask != (mask is not None):
        faults.append(f"{place}: {record.image_id} and its column has_mask disagree")
    if mask is not None and mask.shape != shape[:2]:
        faults.append(f"{place}: the mask of {record.image_id} is not of the image's size")
    return faults


def _groups(folder: Path, main: Mapping[Split, Sequence[Seen]]) -> Iterable[str]:
    """No image, subject, donor or near-duplicate may be in two splits."""
    rows = [(split, one) for split in SPLITS for one in main[split]]
    for name, key in (
        ("image", lambda record: record.image_id),
        ("subject", lambda record: record.subject_id),
        ("donor", lambda record: record.provenance.donor_id),
    ):
        places: dict[Hashable, list[Split]] = defaultdict(list)
        for split, one in rows:
            if key(one.record) is not None:
                places[key(one.record)].append(split)
        for value, splits in places.items():
            if len(set(splits)) > 1:
                yield f"the {name} {value} is in {' and '.join(sorted(set(splits)))}"
            elif name == "image" and len(splits) > 1:
                yield f"the image {value} is in {splits[0]} {len(splits)} times"
    try:
        limit = Making.load(folder).group_rms
    except UserError as error:
        yield str(error)
        return
    if rows:
        for first, second in near_pairs(np.stack([one.thumbnail for _, one in rows]), limit).tolist():
            (here, one), (there, other) = rows[first], rows[second]
            if here != there:
                yield f"near-duplicates: {one.record.image_id} in {here}, {other.record.image_id} in {there}"


def _masks(main: Mapping[Split, Sequence[Seen]], subset: Mapping[Split, Sequence[Seen]]) -> Iterable[str]:
    for split, sources in SEGMENTATION_SPLITS.items():
        expected = {one.record.image_id: one for source in sources for one in main[source] if one.masked}
        found = {one.record.image_id: one for one in subset.get(split, ())}
        for image_id in sorted(expected.keys() ^ found.keys()):
            where = "lacks" if image_id in expected else "should not hold"
            yield f"{SEGMENTATION}/{split}: {where} {image_id}"
        for image_id in sorted(expected.keys() & found.keys()):
            same = expected[image_id].record.model_copy(update={"split": split}) == found[image_id].record
            if not same or not np.array_equal(expected[image_id].thumbnail, found[image_id].thumbnail):
                yield f"{SEGMENTATION}/{split}: {image_id} is not the one in the splits"


def _annotated(release: Release, splits: Mapping[str, Split]) -> Iterable[str]:
    try:
        annotations = read_table(release.folder / TABLE, load_taxonomy(release.clinic))
    except FileNotFoundError:
        return []  # a missing file is said already
    except UserError as error:
        return [str(error)]
    accepted = {one.image_id for one in annotations if one.accept}
    return [f"{TABLE}: nobody accepted {image_id}" for image_id in splits if image_id not in accepted]


def _history(folder: Path, release: Release, splits: Mapping[str, Split], previous: Path | None) -> Iterable[str]:
    try:
        ledger, gone = read_ledger(folder), read_tombstones(folder)
    except UserError as error:
        yield str(error)
        return
    for image_id, split in splits.items():
        if ledger.get(image_id) != split:
            yield f"{LEDGER}: {image_id} is in {split}, the table says {ledger.get(image_id, 'nothing')}"
    for one in gone:
        if one.image_id in splits:
            yield f"{TOMBSTONES}: {one.image_id} was taken out and is in {splits[one.image_id]}"
    if previous is None:
        return
    before = Release.read(previous)
    if release.previous is None or release.previous.digest != before.digest:
        yield f"{previous} is not the version that this one continues"
    earlier = read_ledger(previous)
    for image_id, split in splits.items():
        if earlier.get(image_id, split) != split:
            yield f"{image_id} was in {earlier[image_id]} in {before.version} and is in {split} now"
    for image_id in sorted(earlier.keys() - ledger.keys()):
        yield f"{LEDGER}: {image_id} of {before.version} was forgotten"
    for lost in sorted(set(read_tombstones(previous)) - set(gone)):
        yield f"{TOMBSTONES}: {lost.image_id}, taken out in {lost.version}, was forgotten"


def _beside(release: Release) -> Path | None:
    """The folder of the version before, where releases lie side by side as ``publish`` lays them."""
    if release.previous is None:
        return None
    place = release.folder.resolve().parent / release.previous.version
    try:
        return place if Release.read(place).digest == release.previous.digest else None
    except UserError:
        return None
