"""The dataset card: README.md with the header that the Hugging Face hub reads, from one template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curation.report import AuditReport
from mema.faces.leakage import Rate
from mema.records import FaceRecord, Split
from mema.release import SPLITS
from mema.taxonomy import Taxonomy

TEMPLATES = Path(__file__).parent / "templates"
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def render_card(
    *,
    name: str,
    version: str,
    licence: str,
    phantom: bool,
    machine_annotated: bool,
    annotators: Sequence[str],
    taxonomy: Taxonomy,
    records: Mapping[Split, Sequence[FaceRecord]],
    pixels: int,
    audit: AuditReport,
    rejected: Mapping[str, int],
    declined: int,
) -> str:
    """Return the card's Markdown; every number on it comes from the arguments.

    ``rejected`` counts filtered candidates by reason, ``declined`` those that annotators did not accept; ``pixels``
    is the side of the images.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, not HTML
    )
    environment.filters.update(percent=percent, rate=rate_text)
    counts = {split: Counter(record.disease for record in records[split]) for split in SPLITS}
    total = sum(len(records[split]) for split in SPLITS)
    everyone = [record for split in SPLITS for record in records[split]]
    ages = sorted(record.age for record in everyone if record.age is not None)
    context: dict[str, Any] = {
        "name": name,
        "version": version,
        "licence": licence,
        "phantom": phantom,
        "machine_annotated": machine_annotated,
        "annotators": annotators,
        "taxonomy": taxonomy,
        "splits": SPLITS,
        "counts": counts,
        "by_disease": sum(counts.values(), Counter()),
        "totals": {split: len(records[split]) for split in SPLITS},
        "total": total,
        "size_category": next((word for bound, word in SIZES if total < bound), "n>1M"),
        "pixels": pixels,
        "audit": audit,
        "instruments": [*audit.recognisers, *(n for n in audit.points if n not in audit.recognisers)],
        "unresolved": any(
            point.threshold is not None and not point.threshold.resolved
            for point in map(audit.decision, audit.recognisers)
        ),
        "rejected": rejected,
        "declined": declined,
        "masks": sum(record.has_mask for record in everyone),
        "severities": sum(record.severity is not None for record in everyone),
        "ages": (ages[0], ages[len(ages) // 2], ages[-1]) if ages else None,
        "genders": Counter(record.gender or "not stated" for record in everyone),
    }
    return environment.get_template("card.md.j2").render(context)


def percent(value: float) -> str:
    """Return a share in per cent with one decimal."""
    return f"{100 * value:.1f} %"


def rate_text(rate: Rate | None) -> str:
    """Return a rate with its interval, or a dash."""
    return "–" if rate is None else f"{100 * rate.value:.1f} % ({100 * rate.low:.1f} to {100 * rate.high:.1f})"
