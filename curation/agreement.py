"""Agreement: how far annotators say the same of the same image, and say the same again.

Kappa is agreement beyond chance: 1 is perfect, 0 is what chance alone would give. Cohen's compares two annotators,
Fleiss' all of them at once (Psychological Bulletin 76, 1971, 378-382). Only round 0 is measured: later rounds show
people what was disputed. A *reading* is the disease, or ``rejected``.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from math import isnan
from pathlib import Path
from statistics import fmean, median
from typing import Any, get_args

import numpy as np

from mema.annotations import (
    REJECTED,
    REPEATS,
    TABLE,
    Annotation,
    agree,
    disputes,
    read_annotations,
    read_mask,
    reading,
)
from mema.build import Build
from mema.errors import UserError
from mema.files import atomic_write, read_json, write_json
from mema.records import Severity
from mema.statistics import cohen_kappa, paired_table, wilson
from mema.taxonomy import Taxonomy, load_taxonomy

REPORT = "agreement.json"
TABLES = "agreement.md"
PICTURE = "confusion.png"
DISPUTES = "disputes.csv"

Votes = Mapping[str, Mapping[str, Annotation]]


def run_agreement(build: Build) -> dict[str, Any]:
    """Measure ``Build.answers`` and write report, tables, picture and disputes beside them.

    UserError when nothing is annotated.
    """
    taxonomy = load_taxonomy(build.clinic)
    source = build.answers / "source.json"
    if not source.is_file():
        raise UserError(f"{build.answers} holds no annotations: run `mema annotate pull` first")
    candidates = read_json(source).get("candidates")
    given = read_annotations(build.answers, taxonomy, candidates=candidates)
    repeats = build.answers / REPEATS
    again = read_annotations(repeats, taxonomy, candidates=candidates) if (repeats / TABLE).is_file() else []
    if not given:
        raise UserError(f"{build.answers / TABLE}: nothing is annotated yet")
    report = measure(build.answers, given, again, taxonomy)
    folder = build.answers
    write_json(folder / REPORT, report)
    atomic_write(folder / TABLES, tables(report, taxonomy))
    atomic_write(folder / DISPUTES, _disputes_csv(given))
    labels = [*taxonomy.codes, REJECTED]
    atomic_write(folder / PICTURE, draw_confusion(np.array(report["confusion"]), labels))
    return report


def measure(
    folder: Path, given: Sequence[Annotation], again: Sequence[Annotation], taxonomy: Taxonomy
) -> dict[str, Any]:
    """Return all numbers; masks are read from ``folder`` and, for what was shown again, from its ``repeats``."""
    own = [one for one in given if one.round == 0]
    votes = _by_image(own)
    labels = [*taxonomy.codes, REJECTED]
    annotators = sorted({one.annotator for one in own})
    consensus = {image_id: agree(list(by.values())) for image_id, by in _by_image(given, last=True).items()}
    report = {
        "images": len(consensus),
        "annotators": {name: sum(one.annotator == name for one in own) for name in annotators},
        "accepted": sum(one is not None and one.accept for one in consensus.values()),
        "rejected": sum(one is not None and not one.accept for one in consensus.values()),
        "disputed": sum(one is None for one in consensus.values()),
        "reasons": dict(Counter(one.reason or "none given" for one in own if not one.accept)),
        "pairs": [_pair(folder, votes, pair, taxonomy) for pair in combinations(annotators, 2)],
        "fleiss": _fleiss(votes, labels),
        "self": [_self(folder, votes, again, name) for name in annotators],
        "confusion": confusion(votes, labels).tolist(),
    }
    return report


def cohen(first: Sequence[Any], second: Sequence[Any], *, ordered: Sequence[Any] | None = None) -> float | None:
    """Return Cohen's kappa of two lists of labels; with ``ordered`` labels, weighted by the squared distance.

    None where it is not defined: no image, or both gave one and the same label throughout.
    """
    labels = list(ordered or dict.fromkeys([*first, *second]))
    kappa = float(cohen_kappa(paired_table(first, second, labels), squared=ordered is not None))
    return None if isnan(kappa) else kappa


def fleiss(counts: np.ndarray) -> float | None:
    """Return Fleiss' kappa of ``counts``, int (images, labels): how many annotators gave which label.

    Every image has the same number of annotators, two or more. None where it is not defined.
    """
    counts = np.asarray(counts)
    if not counts.size or counts[0].sum() < 2:
        return None
    raters = counts[0].sum()
    agreement = ((counts**2).sum(1) - raters) / (raters * (raters - 1))
    chance = ((counts.sum(0) / counts.sum()) ** 2).sum()
    return float((agreement.mean() - chance) / (1 - chance)) if chance < 1 else None


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Dice coefficient of two masks, bool (H, W), of which at least one is not empty."""
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def confusion(votes: Votes, labels: Sequence[str]) -> np.ndarray:
    """Return int (labels, labels): how often one annotator read the row where another read the column.

    Each pair of annotators of an image counts both ways, so the table is symmetric.
    """
    place = {label: number for number, label in enumerate(labels)}
    table = np.zeros((len(labels), len(labels)), int)
    for by in votes.values():
        for one, other in combinations(by.values(), 2):
            row, column = place[reading(one)], place[reading(other)]
            table[row, column] += 1
            table[column, row] += 1
    return table


def _by_image(given: Iterable[Annotation], *, last: bool = False) -> dict[str, dict[str, Annotation]]:
    """Annotations by image and annotator; with ``last`` those of an image's last round only."""
    votes: dict[str, dict[str, Annotation]] = defaultdict(dict)
    latest: dict[str, int] = defaultdict(int)
    for one in given:
        latest[one.image_id] = max(latest[one.image_id], one.round)
    for one in given:
        if not last or one.round == latest[one.image_id]:
            votes[one.image_id][one.annotator] = one
    return votes


def _pair(folder: Path, votes: Votes, pair: tuple[str, str], taxonomy: Taxonomy) -> dict[str, Any]:
    both = [(by[pair[0]], by[pair[1]]) for by in votes.values() if pair[0] in by and pair[1] in by]
    return {"annotators": list(pair), **_compare(both, taxonomy, [(folder, folder)] * len(both))}


def _self(folder: Path, votes: Votes, again: Sequence[Annotation], name: str) -> dict[str, Any]:
    mine = [one for one in again if one.annotator == name and name in votes.get(one.image_id, {})]
    both = [(votes[one.image_id][name], one) for one in mine]
    return {"annotator": name, **_compare(both, None, [(folder, folder / REPEATS)] * len(both))}


def _compare(
    both: Sequence[tuple[Annotation, Annotation]], taxonomy: Taxonomy | None, folders: Sequence[tuple[Path, Path]]
) -> dict[str, Any]:
    first, second = ([reading(pair[side]) for pair in both] for side in (0, 1))
    same = sum(a == b for a, b in zip(first, second, strict=True))
    graded = [(a.severity, b.severity) for a, b in both if a.severity and b.severity and a.disease == b.disease]
    result: dict[str, Any] = {
        "images": len(both),
        "same_reading": same / len(both) if both else None,
        "same_reading_interval": list(wilson(same, len(both))),
        "kappa_accept": cohen([a.accept for a, _ in both], [b.accept for _, b in both]),
        "kappa_reading": cohen(first, second),
        "graded": len(graded),
        "kappa_severity": cohen([a for a, _ in graded], [b for _, b in graded], ordered=get_args(Severity)),
        "masks": _masks(both, folders),
    }
    if taxonomy:
        result["kappa_by_class"] = {
            label: cohen([label == a for a in first], [label == b for b in second])
            for label in [*taxonomy.codes, REJECTED]
        }
    return result


def _masks(
    both: Sequence[tuple[Annotation, Annotation]], folders: Sequence[tuple[Path, Path]]
) -> dict[str, float | int | None]:
    """Dice where both accepted the image and at least one painted; 0 where the other did not."""
    values = []
    painted = 0
    for (one, other), (here, there) in zip(both, folders, strict=True):
        if not (one.accept and other.accept):
            continue
        first, second = read_mask(here, one), read_mask(there, other)
        if first is not None and second is not None:
            painted += 1
            values.append(dice(first, second))
        elif first is not None or second is not None:
            values.append(0.0)
    return {
        "either_painted": len(values),
        "both_painted": painted,
        "dice_mean": fmean(values) if values else None,
        "dice_median": median(values) if values else None,
    }


def _fleiss(votes: Votes, labels: Sequence[str]) -> dict[str, Any]:
    """Fleiss' kappa needs as many annotators for every image: those with the most usual number above one."""
    usual = Counter(len(by) for by in votes.values() if len(by) > 1).most_common(1)
    raters = usual[0][0] if usual else 0
    readings = [[reading(one) for one in by.values()] for by in votes.values() if len(by) == raters]
    counts = np.array([[given.count(label) for label in labels] for given in readings], int).reshape(-1, len(labels))
    rest = raters - counts
    accepted = counts[:, :-1].sum(1)
    return {
        "raters": raters,
        "images": len(counts) if raters else 0,
        "kappa_accept": fleiss(np.stack([accepted, raters - accepted], axis=1)),
        "kappa_reading": fleiss(counts),
        "kappa_by_class": {
            label: fleiss(np.stack([counts[:, place], rest[:, place]], axis=1)) for place, label in enumerate(labels)
        },
    }


def _disputes_csv(given: Sequence[Annotation]) -> str:
    """One row per image on which the annotators are divided, with what each of them said last."""
    votes = _by_image(given, last=True)
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(["image_id", "readings"])
    for image_id in disputes(given):
        said = (f"{name}: {reading(one)}" for name, one in sorted(votes[image_id].items()))
        writer.writerow([image_id, "; ".join(said)])
    return sink.getvalue()


def tables(report: Mapping[str, Any], taxonomy: Taxonomy) -> str:
    """Return the report as Markdown tables."""
    return "\n".join(_lines(report, taxonomy)) + "\n"


def _lines(report: Mapping[str, Any], taxonomy: Taxonomy) -> Iterator[str]:
    yield "# Agreement of the annotators\n"
    yield (
        f"{report['images']} images: accepted {report['accepted']}, rejected {report['rejected']}, disputed"
        f" {report['disputed']} (`{DISPUTES}`).\n"
    )
    yield "Kappa is agreement beyond chance: 1 is perfect, 0 is what chance alone would give; – means not defined."
    yield "Dice is the overlap of painted masks where at least one of the two painted; 0 where the other did not.\n"
    yield "## Two by two (Cohen)\n"
    yield from _table(
        ["annotators", "images", "same reading", "κ accept", "κ reading", "κ severity", "Dice"],
        [[" – ".join(pair["annotators"]), *_cells(pair)] for pair in report["pairs"]],
    )
    whole = report["fleiss"]
    yield f"\n## All together (Fleiss), {whole['images']} images with {whole['raters']} annotators each\n"
    yield from _table(
        ["", "κ"],
        [
            ["accept or reject", _number(whole["kappa_accept"])],
            ["reading", _number(whole["kappa_reading"])],
            *[[_name(label, taxonomy), _number(kappa)] for label, kappa in whole["kappa_by_class"].items()],
        ],
    )
    yield "\n## The same image again\n"
    yield from _table(
        ["annotator", "images", "same reading", "κ accept", "κ reading", "κ severity", "Dice"],
        [[one["annotator"], *_cells(one)] for one in report["self"]],
    )
    yield "\n## Why images were rejected\n"
    yield from _table(["reason", "times"], [[reason, str(count)] for reason, count in report["reasons"].items()])
    yield f"\n![Who read what where another read something else]({PICTURE})"


def _cells(one: Mapping[str, Any]) -> list[str]:
    share = one["same_reading"]
    low, high = one["same_reading_interval"]
    same = "–" if share is None else f"{share:.0%} ({low:.0%} to {high:.0%})"
    kappas = [_number(one[f"kappa_{kind}"]) for kind in ("accept", "reading", "severity")]
    masks = one["masks"]
    overlap = "–" if masks["dice_mean"] is None else f"{masks['dice_mean']:.2f} of {masks['either_painted']}"
    return [str(one["images"]), same, *kappas, overlap]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|---|{'---:|' * (len(head) - 1)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _name(label: str, taxonomy: Taxonomy) -> str:
    return label if label == REJECTED else taxonomy.disease(label).name


def draw_confusion(table: np.ndarray, labels: Sequence[str]) -> bytes:
    """Return a PNG of a confusion table, int (labels, labels), shaded by the share of its row."""
    from PIL import Image, ImageDraw, ImageFont

    from mema.imageset import encode_png

    cell, font = 56, ImageFont.load_default(14)
    left = 24 + max(int(font.getlength(label)) for label in labels)
    top = 64
    image = Image.new("RGB", (left + cell * len(labels) + 16, top + cell * len(labels) + left), "white")
    draw = ImageDraw.Draw(image)
    draw.text((16, 12), "Where one annotator read the row, another read the column", "black", font)
    draw.text((16, 34), "shade: share of the row", "grey", font)
    for row, label in enumerate(labels):
        y = top + cell * row
        draw.text((left - 8, y + cell // 2), label, "black", font, anchor="rm")
        for column, count in enumerate(table[row]):
            share = count / max(int(table[row].sum()), 1)
            x = left + cell * column
            shade = tuple(round(255 + share * (dark - 255)) for dark in (8, 48, 107))
            draw.rectangle((x, y, x + cell - 2, y + cell - 2), shade, outline=(220, 220, 220))
            if count:
                draw.text((x + cell // 2, y + cell // 2), str(count), "white" if share > 0.5 else "black", font, "mm")
    for column, label in enumerate(labels):
        text = Image.new("RGB", (left, cell), "white")
        ImageDraw.Draw(text).text((left - 8, cell // 2), label, "black", font, anchor="rm")
        image.paste(text.rotate(90, expand=True), (left + cell * column, top + cell * len(labels)))
    return encode_png(np.asarray(image))
