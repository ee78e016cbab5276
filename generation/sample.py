"""Make the images of the plan (MeMa, Section 3, Step 2).

``mema generate sample --config configs/demo.yaml`` writes the image set ``Build.candidates`` and a contact sheet. A run
that was killed goes on at the first missing shard; any row can be made again alone and gives the same picture (to
within one grey level, see ``mema.diffusion.sampling``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from generation.contact_sheet import write_contact_sheet
from generation.finetune import FinetuneConfig
from generation.plan import PlanRow, read_plan
from mema.build import Build
from mema.config import Config
from mema.diffusion.checkpoint import Generator, encode_faces, generator_digest, load_pipeline
from mema.diffusion.sampling import Drawing, SchedulerName, sample
from mema.errors import UserError
from mema.files import sha256_file
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord, Provenance
from mema.taxonomy import load_taxonomy

if TYPE_CHECKING:
    from torch import Tensor

SHEET = "candidates.png"


class SampleConfig(Config):
    """How to sample; ``adapter`` and ``adapter_file`` say which IP-Adapter (see ``Generator``)."""

    adapter: str = "ip-adapter-sd15"
    adapter_file: str | None = None
    steps: int = Field(default=20, ge=1)
    guidance: float = Field(default=7.5, ge=1)
    scheduler: SchedulerName = "dpm"
    batch: int = Field(default=8, ge=1)
    shard_size: int = Field(default=64, ge=1)


def sample_plan(build: Build) -> ImageSet:
    """Write ``Build.candidates`` from ``Build.plan`` and return it; complete already, it is only opened."""
    config = build.section("sample", SampleConfig)
    checkpoint = build.section("finetune", FinetuneConfig).checkpoint
    rows = read_plan(build.plan)
    adapter = config.adapter if any(row.donor_id is not None for row in rows) else None
    generator = Generator(checkpoint, build.lora, adapter, config.adapter_file)
    digest = generator_digest(generator)
    donors = None if adapter is None else ImageSet.open(build.donors)
    images: list[Callable[[Sequence[PlanRow]], np.ndarray]] = []

    def make(start: int, stop: int) -> Iterator[Face]:
        if not images:  # loading the models is worth it only if a shard is missing
            pipe = load_pipeline(generator)
            faces = {} if donors is None else embed_donors(pipe, donors, rows)
            images.append(lambda part: sample_rows(pipe, part, faces, size=build.size, config=config))
        for row, image in zip(rows[start:stop], images[0](rows[start:stop]), strict=True):
            yield Face(record_of(row, digest), image)

    content = {
        "stage": "sample",
        "size": build.size,
        "plan": sha256_file(build.plan),
        "donors": None if donors is None else donors.digest,
        "generator": digest,
        "sample": config.model_dump(mode="json"),
    }
    made = write_imageset(
        build.candidates, len(rows), make, config=content, shard_size=config.shard_size, label="sample"
    )
    sheet_by_disease(build, made)
    return made


def sample_rows(
    pipe: Any, rows: Sequence[PlanRow], donors: Mapping[str, Tensor], *, size: int, config: SampleConfig
) -> np.ndarray:
    """Return the images of ``rows``, uint8 (N, size, size, 3); ``donors`` are embeddings by donor id."""
    drawings = [
        Drawing(row.prompt, row.seed)
        if row.donor_id is None
        else Drawing(row.prompt, row.seed, donors[row.donor_id], row.donor_weight or 0.0)
        for row in rows
    ]
    return sample(
        pipe,
        drawings,
        size=size,
        steps=config.steps,
        guidance=config.guidance,
        scheduler=config.scheduler,
        batch=config.batch,
    )


def embed_donors(pipe: Any, donors: ImageSet, rows: Sequence[PlanRow]) -> dict[str, Tensor]:
    """Return the embedding of each donor that ``rows`` use, by id; UserError if the plan names an unknown donor."""
    wanted = {row.donor_id for row in rows if row.donor_id is not None}
    faces = [face for face in donors.faces() if face.record.image_id in wanted]
    missing = wanted - {face.record.image_id for face in faces}
    if missing:
        raise UserError(f"the plan names donor '{min(missing)}', which {donors.path} lacks; make the plan again")
    embeddings = encode_faces(pipe, np.stack([face.image for face in faces]))
    return {face.record.image_id: embedding for face, embedding in zip(faces, embeddings, strict=True)}


def record_of(row: PlanRow, generator: str) -> FaceRecord:
    """Return the record of the virtual patient made from ``row`` by the weights with digest ``generator``."""
    return FaceRecord(
        image_id=row.image_id,
        subject_id=row.subject_id,
        disease=row.disease,
        severity=row.severity,
        age=row.age,
        gender=row.gender,
        skin_tone=row.skin_tone,
        provenance=Provenance(
            prompt=row.prompt,
            seed=row.seed,
            donor_id=row.donor_id,
            donor_weight=row.donor_weight,
            generator=generator,
        ),
    )


def sheet_by_disease(build: Build, made: ImageSet) -> None:
    """Write the contact sheet beside the candidates: one row a disease."""
    taxonomy = load_taxonomy(build.clinic)
    rows: dict[str, list[np.ndarray]] = {disease.name: [] for disease in taxonomy.diseases}
    for face in made.faces():
        rows[taxonomy.disease(face.record.disease or "").name].append(face.image)
    write_contact_sheet(build.candidates.with_name(SHEET), f"Virtual patients of {build.name}", rows)
