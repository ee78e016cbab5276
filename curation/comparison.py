"""Compare two releases: what came, what went, what changed its label, and that nothing changed its split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from mema.records import FaceRecord, Split
from mema.release import SPLITS, Release

LABELS = ("disease", "severity", "has_mask")


class Change(NamedTuple):
    """One field of one image, before and after; an empty field is ``-``."""

    image_id: str
    field: str
    before: str
    after: str


class Difference(NamedTuple):
    """From one release to the next; ``counts`` is images before and after by disease and split."""

    added: list[str]
    removed: list[str]
    moved: list[Change]
    relabelled: list[Change]
    counts: dict[str, dict[Split, tuple[int, int]]]


def compare_releases(before: Release, after: Release) -> Difference:
    """Return what differs; image ids are sorted."""
    return compare_records(records_of(before), records_of(after))


def compare_records(old: Mapping[str, FaceRecord], new: Mapping[str, FaceRecord]) -> Difference:
    """Return what differs between two versions, each image id -> record."""
    both = sorted(old.keys() & new.keys())
    tables = [Counter((record.disease or "-", record.split) for record in side.values()) for side in (old, new)]
    diseases = sorted({disease for table in tables for disease, _ in table})
    return Difference(
        added=sorted(new.keys() - old.keys()),
        removed=sorted(old.keys() - new.keys()),
        moved=_changes(both, old, new, ("split",)),
        relabelled=_changes(both, old, new, LABELS),
        counts={
            disease: {split: (tables[0][disease, split], tables[1][disease, split]) for split in SPLITS}
            for disease in diseases
        },
    )


def records_of(release: Release) -> dict[str, FaceRecord]:
    """Return image id -> record of all splits."""
    return {record.image_id: record for split in SPLITS for record in release.imageset(split).records()}


def count_table(difference: Difference) -> str:
    """Return the counts as a Markdown table, ``before → after`` where they differ."""
    rows = [f"| disease | {' | '.join(SPLITS)} | all |", "|---|" + "---:|" * (len(SPLITS) + 1)]
    totals = {
        split: (
            sum(by_split[split][0] for by_split in difference.counts.values()),
            sum(by_split[split][1] for by_split in difference.counts.values()),
        )
        for split in SPLITS
    }
    for name, by_split in [*difference.counts.items(), ("**all**", totals)]:
        pairs = [by_split[split] for split in SPLITS]
        pairs.append((sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)))
        cells = [str(old) if old == new else f"{old} → {new}" for old, new in pairs]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _changes(
    image_ids: list[str], old: Mapping[str, FaceRecord], new: Mapping[str, FaceRecord], fields: tuple[str, ...]
) -> list[Change]:
    def text(record: FaceRecord, field: str) -> str:
        value = getattr(record, field)
        return "-" if value is None else str(value)

    pairs = [(image_id, field) for image_id in image_ids for field in fields]
    changes = [Change(one, field, text(old[one], field), text(new[one], field)) for one, field in pairs]
    return [change for change in changes if change.before != change.after]
