"""The documents of a release, written from what lies in its folder: card, datasheet, changelog, Croissant metadata.

Nothing else goes in, so a build and a retraction write the same documents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from curation.audit_page import PAGE, render_page
from curation.card import render, size_category
from curation.comparison import compare_records, count_table, records_of
from curation.croissant import describe
from curation.making import Making, Tombstone, read_tombstones
from curation.report import REPORT, AuditReport
from mema.annotations import TABLE, Annotation, read_table
from mema.errors import UserError
from mema.files import atomic_write, read_json, write_json
from mema.imageset import ImageSet
from mema.records import FaceRecord, Split
from mema.release import SEGMENTATION, SPLITS, Release
from mema.taxonomy import load_taxonomy

CARD, DATASHEET, CHANGELOG, CROISSANT, AGREEMENT = (
    "README.md",
    "DATASHEET.md",
    "CHANGELOG.md",
    "croissant.json",
    "agreement.json",
)
AGREEMENT_BYTES = 2**20


class Head(NamedTuple):
    """What a release is called; ``phantom``: the patients behind it were drawn by a program."""

    name: str
    version: str
    clinic: str
    phantom: bool


def write_documents(folder: Path, head: Head, before: Release | None) -> tuple[tuple[str, ...], bool]:
    """Write the documents of the release in ``folder``, which continues ``before``.

    Returns its annotators, and whether any of them is a machine.
    """
    records: dict[Split, list[FaceRecord]] = {split: ImageSet.open(folder / split).records() for split in SPLITS}
    annotations = read_table(folder / TABLE, load_taxonomy(head.clinic))
    annotators = tuple(sorted({one.annotator for one in annotations}))
    machine = any(one.by_machine for one in annotations)
    making = Making.load(folder)
    gone = read_tombstones(folder)
    audit = AuditReport.model_validate(read_json(folder / REPORT))
    context = {
        **_contents(folder, records),
        **head._asdict(),
        **making.model_dump(),
        **_audit(audit),
        "taxonomy": load_taxonomy(head.clinic),
        "machine_annotated": machine,
        "annotators": annotators,
        "per_image": _per_image(annotations),
        "agreement": _agreement(folder),
        "before": before,
        "tombstones": Counter(one.reason for one in gone),
    }
    atomic_write(folder / CARD, render("card.md.j2", context))
    atomic_write(folder / DATASHEET, render("datasheet.md.j2", context))
    atomic_write(folder / PAGE, render_page(audit))
    atomic_write(folder / CHANGELOG, _changelog(folder, head, making, before, records, gone))
    write_json(folder / CROISSANT, describe(folder, head.name, head.version, making, context["seg"]))
    return annotators, machine


def _contents(folder: Path, records: Mapping[Split, list[FaceRecord]]) -> dict[str, Any]:
    counts = {split: Counter(record.disease for record in records[split]) for split in SPLITS}
    everyone = [record for split in SPLITS for record in records[split]]
    ages = sorted(record.age for record in everyone if record.age is not None)
    return {
        "splits": SPLITS,
        "seg": {
            split: ImageSet.open(folder / SEGMENTATION / split).count
            for split in SPLITS
            if (folder / SEGMENTATION / split).is_dir()
        },
        "counts": counts,
        "by_disease": sum(counts.values(), Counter()),
        "totals": {split: len(records[split]) for split in SPLITS},
        "total": len(everyone),
        "size_category": size_category(len(everyone)),
        "masks": sum(record.has_mask for record in everyone),
        "severities": sum(record.severity is not None for record in everyone),
        "ages": (ages[0], ages[len(ages) // 2], ages[-1]) if ages else None,
        "genders": Counter(record.gender or "not stated" for record in everyone),
        "tones": Counter(record.skin_tone for record in everyone if record.skin_tone is not None),
        "donors": len({record.provenance.donor_id for record in everyone} - {None}),
    }


def _audit(audit: AuditReport) -> dict[str, Any]:
    return {
        "audit": audit,
        "instruments": [*audit.recognisers, *(name for name in audit.points if name not in audit.recognisers)],
        "unresolved": any(
            point.threshold is not None and not point.threshold.resolved
            for point in map(audit.decision, audit.recognisers)
        ),
    }


def _per_image(annotations: list[Annotation]) -> tuple[int, int]:
    """Fewest and most annotators of an image."""
    given = Counter(image_id for image_id, _ in {(one.image_id, one.annotator) for one in annotations}).values()
    return min(given), max(given)


def _agreement(folder: Path) -> dict[str, float] | None:
    """The numbers of the agreement report, by their path in it; None without a report."""
    path = folder / AGREEMENT
    if not path.is_file():
        return None
    if path.stat().st_size > AGREEMENT_BYTES:
        raise UserError(f"{path}: larger than {AGREEMENT_BYTES} bytes")
    return dict(_numbers(read_json(path), ""))


def _numbers(value: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _numbers(one, f"{path}.{key}" if path else str(key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


def _changelog(
    folder: Path,
    head: Head,
    making: Making,
    before: Release | None,
    records: Mapping[Split, list[FaceRecord]],
    gone: list[Tombstone],
) -> str:
    title = f"## {head.version}" + (f" ({making.date})" if making.date else "")
    if before is None:
        total = sum(map(len, records.values()))
        return f"# Changelog of {head.name}\n\n{title}\n\nThe first version: {total} images.\n"
    difference = compare_records(records_of(before), {one.image_id: one for part in records.values() for one in part})
    withdrawn = Counter(one.reason for one in gone if one.version == head.version)
    lines = [
        f"- added: {len(difference.added)} images",
        f"- removed: {len(difference.removed)} images",
        *(f"  - {reason}: {count}" for reason, count in sorted(withdrawn.items())),
        f"- labels changed: {len({one.image_id for one in difference.relabelled})} images",
        *(
            f"  - {field}: {count}"
            for field, count in sorted(Counter(one.field for one in difference.relabelled).items())
        ),
        f"- moved between splits: {len(difference.moved) or 'none'}",
        f"- left out, because they join two splits of earlier versions: {making.left_out or 'none'}",
    ]
    entry = f"{title}\n\nAgainst {before.version} (`{before.digest[:12]}`):\n\n" + "\n".join(lines)
    past = (before.folder / CHANGELOG).read_text(encoding="utf-8") if (before.folder / CHANGELOG).is_file() else ""
    earlier = past.split("\n\n", 1)[1] if "\n\n" in past else ""
    return f"# Changelog of {head.name}\n\n{entry}\n\n{count_table(difference)}\n{earlier}"
