"""What must be complete before a release is cut: audit, filter and review. All that is missing is said at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from curation.annotate import AnnotateConfig
from curation.documents import AGREEMENT
from curation.filter import FILTER_REPORT, KEPT
from curation.report import REPORT, AuditReport
from mema.annotations import PROGRESS, TABLE, Annotation, Consensus, agree, read_annotations, read_progress
from mema.build import Build
from mema.errors import UserError
from mema.files import read_json, sha256_file
from mema.imageset import ImageSet
from mema.taxonomy import load_taxonomy

STALE = "run `mema curate filter` again"

T = TypeVar("T")


class Complete(NamedTuple):
    """What a release is made of; ``consensus`` has every kept image, ``annotations`` are of kept images only."""

    kept: ImageSet
    audit: AuditReport
    filtering: dict[str, Any]
    annotations: list[Annotation]
    consensus: dict[str, Consensus]


def check_complete(build: Build, *, min_recognisers: int, min_annotators: int) -> Complete:
    """Return what the audit, the filter and the review left; UserError lists every reason why that is not complete."""
    reasons: list[str] = []

    def attempt(step: Callable[[], T]) -> T | None:
        try:
            return step()
        except UserError as error:
            reasons.append(str(error))
            return None

    candidates = attempt(lambda: ImageSet.open(build.candidates))
    audit = attempt(lambda: AuditReport.load(build.audit))
    kept = attempt(lambda: ImageSet.open(build.filtered / KEPT))
    filtering = attempt(lambda: read_json(build.filtered / FILTER_REPORT))
    if candidates and audit:
        reasons += _audit_faults(build, candidates, audit, min_recognisers)
    if candidates and kept:
        reasons += _filter_faults(build, candidates, kept, filtering)
    given = attempt(lambda: _annotations(build, candidates)) if candidates else None
    reasons += attempt(lambda: _answer_faults(build)) or []
    if kept and given is not None:
        by_image: dict[str, list[Annotation]] = {record.image_id: [] for record in kept.records()}
        annotations = [one for one in given if one.image_id in by_image]
        for one in annotations:
            by_image[one.image_id].append(one)
        consensus = {image_id: agree(seen) if seen else None for image_id, seen in by_image.items()}
        reasons += _review_faults(by_image, consensus, min_annotators)
    if reasons:
        listed = "; ".join(f"({number}) {reason}" for number, reason in enumerate(reasons, 1))
        raise UserError(reasons[0] if len(reasons) == 1 else f"no release, for {len(reasons)} reasons: {listed}")
    assert kept and audit and filtering is not None
    return Complete(kept, audit, filtering, annotations, {key: one for key, one in consensus.items() if one})


def _annotations(build: Build, candidates: ImageSet) -> list[Annotation]:
    return read_annotations(build.annotations, load_taxonomy(build.clinic), candidates=candidates.digest)


def _answer_faults(build: Build) -> list[str]:
    faults = []
    by_people = build.section("annotate", AnnotateConfig).by == "physicians"
    pairs = [(build.annotations / name, build.answers / name) for name in (TABLE, PROGRESS, AGREEMENT)]
    if by_people and build.annotations.is_dir() and any(_digest(taken) != _digest(given) for taken, given in pairs):
        faults.append(f"{build.annotations} is not what lies in {build.answers}: run `mema curate annotate` again")
    waiting = [one for one in read_progress(build.annotations) if one.answered < one.asked]
    if waiting:
        count = sum(one.asked - one.answered for one in waiting)
        first = waiting[0]
        faults.append(
            f"{build.annotations / PROGRESS}: {count} answers are open, the first are those of {first.annotator} in"
            f" round {first.round}, {first.answered} of {first.asked} given: run `mema annotate pull` when all are"
        )
    return faults


def _digest(path: Path) -> str | None:
    return sha256_file(path) if path.is_file() else None


def _audit_faults(build: Build, candidates: ImageSet, audit: AuditReport, min_recognisers: int) -> list[str]:
    faults = []
    if audit.candidates != candidates.digest:
        faults.append(f"{build.audit}: the audit is of other candidates: run `mema curate audit` again")
    if len(audit.recognisers) < min_recognisers:
        faults.append(
            f"{build.audit}: the audit used {len(audit.recognisers)} recognisers, a release needs {min_recognisers}:"
            " add some to audit.recognisers"
        )
    return faults


def _filter_faults(build: Build, candidates: ImageSet, kept: ImageSet, filtering: dict[str, Any] | None) -> list[str]:
    faults = []
    report = build.audit / REPORT
    if kept.config.get("candidates") != candidates.digest:
        faults.append(f"{kept.path} was filtered from other candidates: {STALE}")
    if report.is_file() and kept.config.get("audit") != sha256_file(report):
        faults.append(f"{kept.path} was filtered by another audit: {STALE}")
    if filtering is not None and filtering.get("digest") != kept.digest:
        faults.append(f"{build.filtered} was not finished: {STALE}")
    return faults


def _review_faults(
    by_image: Mapping[str, Sequence[Annotation]], consensus: Mapping[str, Consensus | None], min_annotators: int
) -> list[str]:
    faults = []
    missing = [image_id for image_id, given in by_image.items() if not given]
    if missing:
        faults.append(
            f"{TABLE}: {len(missing)} of {len(by_image)} kept images are not annotated, the first is {missing[0]}"
        )
    people = {image_id: len({one.annotator for one in given}) for image_id, given in by_image.items()}
    few = [image_id for image_id, count in people.items() if 0 < count < min_annotators]
    if few:
        faults.append(f"{TABLE}: {len(few)} images have fewer than {min_annotators} annotators, the first is {few[0]}")
    divided = [image_id for image_id, given in by_image.items() if given and consensus[image_id] is None]
    if divided:
        faults.append(
            f"{TABLE}: annotators are divided on {len(divided)} images, the first is {divided[0]}: ask another one"
        )
    return faults
