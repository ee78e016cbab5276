"""Audit: is a candidate too near to a patient, or to the donor whose attributes it was given? (MeMa Table 1)

``mema curate audit --config configs/demo.yaml`` compares every candidate with every real photo and every donor, with
several recognisers whose thresholds are estimated on the cohort. Public: rates and flags (``Build.audit``), and the
rates in words (:mod:`curation.audit_page`). Private:
which patient is nearest to which candidate (``Build.private_audit``).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from curation.audit_page import PAGE, render_page
from curation.duplicates import near_pairs, thumbnail
from curation.embedding import embed_sets
from curation.groups import group_rates
from curation.likeness import Found, People, measure_likeness
from curation.planted import detection_limit
from curation.report import (
    FLAGS,
    OWN_DONOR,
    REPORT,
    AuditReport,
    Cutoff,
    Disagreement,
    Gallery,
    Planted,
    Point,
    Repeats,
    Sizes,
)
from mema.build import Build
from mema.config import Config
from mema.errors import UserError
from mema.faces.leakage import equal_size, leakage
from mema.faces.matching import nearest
from mema.faces.thresholds import Pairs, Threshold, calibrate
from mema.files import atomic_write, write_json
from mema.imageset import ImageSet
from mema.records import FaceRecord

NEAREST = "nearest.parquet"
PLANTED = "planted.json"


class AuditConfig(Config):
    """``far`` are false-accept rates of a pair of photos; the one called ``decision_far`` sets the flags.

    A candidate meets the whole gallery, so among G photos of strangers it is flagged by chance with a probability
    near G x far: hence the strict default. ``pairs`` says how impostor pairs are drawn (mema.faces.thresholds).
    Candidates whose thumbnails differ by less than ``duplicate_rms`` grey levels are counted as near-duplicates.
    """

    recognisers: tuple[str, ...] = Field(
        default=("phantom-arcface", "phantom-cosface", "phantom-sphereface", "dlib"), min_length=1
    )
    far: tuple[float, ...] = (1e-3, 1e-4)
    decision_far: float = 1e-4
    pairs: Pairs = "disjoint"
    planted_members: int = Field(default=24, ge=1)
    planted_alphas: tuple[float, ...] = (0.75, 0.5, 0.25)
    duplicate_rms: float = Field(default=4.0, gt=0)
    workers: int = Field(default=1, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _decidable(self) -> AuditConfig:
        if self.decision_far not in self.far:
            raise ValueError(f"decision_far {self.decision_far} is not one of far {list(self.far)}")
        if len(set(self.recognisers)) < len(self.recognisers):
            raise ValueError("a recogniser occurs twice")
        if not all(0 < alpha < 1 for alpha in self.planted_alphas):
            raise ValueError("planted_alphas lie between 0 and 1")
        return self


def run_audit(build: Build) -> AuditReport:
    """Audit ``Build.candidates``; writes the private table first and the public report last, and returns it.

    UserError when a set is missing, the cohort is too small to calibrate on, or a candidate names an unknown donor.
    """
    config = build.section("audit", AuditConfig)
    sets = {
        "candidates": ImageSet.open(build.candidates),
        "patients": ImageSet.open(build.cohort),
        "controls": ImageSet.open(build.controls),
        "donors": ImageSet.open(build.donors),
    }
    for name in ("candidates", "patients"):
        if sets[name].count == 0:
            raise UserError(f"there are no {name} to audit")
    records = {name: one.records() for name, one in sets.items()}
    people = _people(records)
    read = embed_sets(sets, config.recognisers, workers=config.workers)
    vectors = {name: {key: one.vectors for key, one in by_set.items()} for name, by_set in read.items()}
    thresholds = {
        far: {
            name: calibrate(vectors[name]["patients"], people.patients, far, pairs=config.pairs, seed=config.seed)
            for name in config.recognisers
        }
        for far in config.far
    }
    decision = thresholds[config.decision_far]
    likeness = measure_likeness(vectors, thresholds, people)
    found = likeness.found[config.decision_far]
    flags = {name: found[name].patients.ends[0] for name in config.recognisers}
    cohort = {name: one["patients"] for name, one in vectors.items()}
    report = AuditReport(
        candidates=sets["candidates"].digest,
        recognisers=config.recognisers,
        decision_far=config.decision_far,
        sizes=_sizes(records, people),
        points={
            name: [_point(far, by_name[name], thresholds[far].get(name)) for far, by_name in likeness.found.items()]
            for name in found
        },
        planted=_plant(build, cohort, decision, config),
        faces_found={name: float(read[name]["candidates"].found.mean()) for name in config.recognisers},
        flagged_by=votes(flags),
        disagreements=disagreements(flags),
        groups=tuple(
            group_rates(
                records["patients"],
                records["candidates"],
                cohort,
                likeness.nearest,
                list(thresholds.values()),
                seed=config.seed,
            )
        ),
        repeats=_repeats(sets["candidates"], config.duplicate_rms),
    )
    atomic_write(build.private_audit / NEAREST, _nearest_table(records, vectors, decision))
    atomic_write(build.audit / FLAGS, _flags(records["candidates"], found))
    atomic_write(build.audit / PAGE, render_page(report))
    write_json(build.audit / REPORT, report.model_dump(mode="json"))
    return report


def run_planted(build: Build, alphas: Sequence[float]) -> Planted:
    """Test what the audit finds, without candidates: leaks are planted, blends at all shares ``alphas`` in (0, 1).

    Writes and returns what ``runs/…/reproduce/planted.json`` holds: recalls, and the detection limit.
    """
    config = build.section("audit", AuditConfig).model_copy(update={"planted_alphas": tuple(alphas)})
    cohort = ImageSet.open(build.cohort)
    subjects = [record.subject_id for record in cohort.records()]
    read = embed_sets({"patients": cohort}, config.recognisers, workers=config.workers)
    vectors = {name: one["patients"].vectors for name, one in read.items()}
    decision = {
        name: calibrate(vectors[name], subjects, config.decision_far, pairs=config.pairs, seed=config.seed)
        for name in config.recognisers
    }
    planted = _plant(build, vectors, decision, config)
    write_json(build.runs / "reproduce" / PLANTED, planted.model_dump(mode="json"))
    return planted


def _plant(
    build: Build, vectors: Mapping[str, np.ndarray], thresholds: Mapping[str, Threshold], config: AuditConfig
) -> Planted:
    """``vectors`` are those of the cohort's photos, (M, D) by recogniser."""
    controls = ImageSet.open(build.controls)
    return detection_limit(
        ImageSet.open(build.cohort),
        controls if controls.count else ImageSet.open(build.donors),
        vectors,
        {name: threshold.distance for name, threshold in thresholds.items()},
        members=config.planted_members,
        alphas=config.planted_alphas,
        seed=config.seed,
    )


def _point(far: float, found: Found, threshold: Threshold | None) -> Point:
    return Point(
        far=far,
        threshold=None if threshold is None else Cutoff.of(threshold),
        patients=leakage(found.patients),
        own_donor=None if found.own_donor is None else leakage(found.own_donor),
        any_donor=None if found.any_donor is None else leakage(found.any_donor),
    )


def votes(flags: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """Return how many candidates exactly 0, 1, 2 … recognisers flag; ``flags`` are bool (N,) by recogniser."""
    count = np.stack(list(flags.values())).sum(axis=0)
    return tuple(np.bincount(count, minlength=len(flags) + 1).tolist())


def disagreements(flags: Mapping[str, np.ndarray]) -> tuple[Disagreement, ...]:
    """Return for every two recognisers how many candidates both of them, or one only, flag."""
    return tuple(
        Disagreement(
            first=first,
            second=second,
            both=int((flags[first] & flags[second]).sum()),
            only_first=int((flags[first] & ~flags[second]).sum()),
            only_second=int((flags[second] & ~flags[first]).sum()),
        )
        for first, second in combinations(flags, 2)
    )


def _repeats(candidates: ImageSet, rms: float) -> Repeats:
    pairs = near_pairs(np.stack([thumbnail(face.image) for face in candidates.faces()]), rms)
    return Repeats(rms=rms, pairs=len(pairs), images=len(np.unique(pairs)))


def _people(records: Mapping[str, list[FaceRecord]]) -> People:
    patients, controls = ([record.subject_id for record in records[key]] for key in ("patients", "controls"))
    if set(patients) & set(controls):
        raise UserError("a patient is in the cohort and among the controls: the comparison would mean nothing")
    column = {record.image_id: index for index, record in enumerate(records["donors"])}
    donors = [record.provenance.donor_id for record in records["candidates"]]
    unknown = next((donor for donor in donors if donor is not None and donor not in column), None)
    if unknown is not None:
        raise UserError(f"candidates name the donor '{unknown}', which is not in the donors' image set")
    own = np.array([-1 if donor is None else column[donor] for donor in donors], dtype=np.int64)
    used = np.zeros(len(column), dtype=bool)
    used[own[own >= 0]] = True
    equal_subjects, equal_photos = equal_size(patients, controls)
    return People(patients, controls, equal_photos, equal_subjects, own, used)


def _sizes(records: Mapping[str, list[FaceRecord]], people: People) -> Sizes:
    used = int(people.used.sum())
    unused = len(people.used) - used
    return Sizes(
        candidates=len(records["candidates"]),
        patients=Gallery(subjects=len(set(people.patients)), photos=len(people.patients)),
        controls=Gallery(subjects=len(set(people.controls)), photos=len(people.controls)),
        donors_used=Gallery(subjects=used, photos=used),
        donors_unused=Gallery(subjects=unused, photos=unused),
        equal_subjects=people.equal_subjects,
        equal_photos=people.equal_photos,
    )


def _flags(candidates: list[FaceRecord], found: Mapping[str, Found]) -> bytes:
    """The public table: per candidate, whether it is nearer than the threshold to some patient, to its own donor."""
    columns: dict[str, list[str] | np.ndarray] = {"image_id": [record.image_id for record in candidates]}
    for name, one in found.items():
        columns[name] = one.patients.ends[0]
        columns[OWN_DONOR + name] = one.flagged_donor
    return _parquet(pa.table(columns))


def _nearest_table(
    records: Mapping[str, list[FaceRecord]],
    vectors: Mapping[str, Mapping[str, np.ndarray]],
    thresholds: Mapping[str, Threshold],
) -> bytes:
    """The private table: per candidate, recogniser and gallery the nearest photo, its patient and the distance."""
    parts = []
    for name, threshold in thresholds.items():
        for gallery in ("patients", "controls"):
            if not records[gallery]:
                continue
            index, distance = nearest(vectors[name]["candidates"], vectors[name][gallery])
            photos = [records[gallery][i] for i in index]
            parts.append(
                pa.table(
                    {
                        "image_id": [record.image_id for record in records["candidates"]],
                        "recogniser": [name] * len(index),
                        "gallery": [gallery] * len(index),
                        "photo_id": [photo.image_id for photo in photos],
                        "patient_id": [photo.subject_id for photo in photos],
                        "distance": distance,
                        "near": distance < threshold.distance,
                    }
                )
            )
    return _parquet(pa.concat_tables(parts))


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none")
    return sink.getvalue()
