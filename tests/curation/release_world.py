"""A build whose audit, filter and review are written by hand, so that releases can be cut of it in a second.

Four images a donor; every fourth image has a tumour and a mask. What is on the pictures does not matter
here: each is noise of its own, unless a test makes one like another.
"""

from hashlib import sha256
from pathlib import Path

import numpy as np
import yaml

from curation.audit import NEAREST
from curation.filter import FILTER_REPORT, KEPT
from curation.report import FLAGS, REPORT
from mema.annotations import Annotation, write_annotations, write_mask
from mema.build import Build
from mema.files import atomic_write, sha256_file, write_json
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord, Provenance

SIDE = 32
DISEASES = ("bcc", "conjunctivitis", "normal", "ptosis")
PATIENT = "CANARY-patient-1"


def face(index: int, *, donor: str | None = None, image: np.ndarray | None = None) -> Face:
    record = FaceRecord(
        image_id=f"virtual-{index:04d}",
        subject_id=f"subject-{index:04d}",
        disease=DISEASES[index % 4],
        age=40.0,
        gender="female",
        provenance=Provenance(prompt="A face", seed=index, donor_id=donor or f"donor-{index // 4:03d}"),
    )
    drawn = np.random.default_rng(index).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return Face(record, drawn if image is None else image)


def faces(count: int = 48) -> list[Face]:
    return [face(index) for index in range(count)]


def mask_of(index: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[4 : 8 + index % 8, 4:12] = True
    return mask


def configure(folder: Path, version: str, **release) -> Build:
    values = {
        "name": "small",
        "clinic": "eye_clinic",
        "size": SIDE,
        "paths": {
            "private": f"{folder}/CANARY-private",
            **{name: f"{folder}/{name}" for name in ("runs", "data", "answers")},
        },
        "release": {
            "version": version,
            "phantom": True,
            "min_recognisers": 1,
            "shares": {"train": 6, "selection": 1, "validation": 3},
            **release,
        },
    }
    (folder / "build.yaml").write_text(yaml.safe_dump(values))
    return Build.load(folder / "build.yaml")


def write(path: Path, chosen: list[Face], **config) -> ImageSet:
    pixels = sha256(b"".join(one.image.tobytes() for one in chosen)).hexdigest()
    return write_imageset(path, len(chosen), lambda a, b: chosen[a:b], config={"pixels": pixels, **config})


def curate(build: Build, chosen: list[Face], annotators: tuple[str, ...] = ("dr-a", "dr-b")) -> None:
    """Write what comes before a release: all candidates are kept, and the annotators read what was asked for."""
    candidates = write(build.candidates, chosen, ids=[one.record.image_id for one in chosen])
    patient = FaceRecord(image_id="CANARY-photo-1", subject_id=PATIENT)
    write(build.cohort, [Face(patient, np.zeros((SIDE, SIDE, 3), np.uint8))])
    write_json(build.audit / REPORT, {**audit_report(), "candidates": candidates.digest})
    atomic_write(build.audit / FLAGS, b"")
    kept = write(build.filtered / KEPT, chosen, candidates=candidates.digest, audit=sha256_file(build.audit / REPORT))
    write_json(build.filtered / FILTER_REPORT, {"digest": kept.digest, "rejected": {"no-face": 2}})
    annotate(build, [annotation for one in chosen for annotation in read(build, one, annotators)])


def read(build: Build, one: Face, annotators: tuple[str, ...]) -> list[Annotation]:
    given = []
    for annotator in annotators:
        annotation = Annotation(
            image_id=one.record.image_id, annotator=annotator, accept=True, disease=one.record.disease, severity="mid"
        )
        if one.record.disease == "bcc":
            annotation = write_mask(build.annotations, annotation, mask_of(one.record.provenance.seed))
        given.append(annotation)
    return given


def annotate(build: Build, annotations: list[Annotation]) -> None:
    write_annotations(build.annotations, annotations, candidates=ImageSet.open(build.candidates).digest)


def write_nearest(build: Build, image_ids: list[str]) -> None:
    """Write the audit's private table: ``image_ids`` are nearest to PATIENT."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    build.private_audit.mkdir(parents=True, exist_ok=True)
    rows = [{"image_id": one, "recogniser": "dlib", "gallery": "patients", "patient_id": PATIENT} for one in image_ids]
    pq.write_table(pa.Table.from_pylist(rows), build.private_audit / NEAREST)


def audit_report() -> dict:
    """A report in which one recogniser found nobody near; only its form matters here."""
    from curation.report import AuditReport, Gallery, Planted, Point, Sizes, Strength
    from mema.faces.leakage import Hits, leakage, rate

    nobody = np.zeros(48, bool)
    point = Point(
        far=1e-4, threshold=None, patients=leakage(Hits([nobody] * 3, nobody, nobody)), own_donor=None, any_donor=None
    )
    names = ("dlib", "any", "majority")
    one = Gallery(subjects=1, photos=1)
    report = AuditReport(
        candidates="",
        recognisers=("dlib",),
        decision_far=1e-4,
        sizes=Sizes(
            candidates=48,
            patients=one,
            controls=one,
            donors_used=one,
            donors_unused=one,
            equal_subjects=1,
            equal_photos=1,
        ),
        points={name: [point] for name in names},
        planted=Planted(
            members=1,
            required=0.9,
            strengths=[Strength(planted="member", recall={name: rate(np.ones(1)) for name in names})],
            limit=dict.fromkeys(names, 0.5),
        ),
        faces_found={"dlib": 1.0},
    )
    return report.model_dump(mode="json")
