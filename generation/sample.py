"""Make the images of the plan (MeMa, Section 3, Step 2).

``mema generate sample --config configs/demo.yaml`` writes the image set ``Build.candidates`` and contact sheets. A run
that was killed goes on at the first missing shard; any row can be made again alone and gives the same picture (to
within one grey level, see ``mema.diffusion.sampling``).
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from generation.contact_sheet import COLUMNS, write_contact_sheet
from generation.finetune import FinetuneConfig
from generation.plan import PlanRow, read_plan
from mema.build import Build
from mema.config import Config
from mema.diffusion.checkpoint import (
    Generator,
    Precision,
    encode_faces,
    generator_digest,
    load_pipeline,
    native_precision,
)
from mema.diffusion.sampling import Drawing, Schedule, SchedulerName, compile_unet, sample
from mema.errors import UserError
from mema.files import read_json, sha256_json
from mema.imageset import MARKER, Face, ImageSet, write_imageset
from mema.records import FaceRecord, Provenance
from mema.taxonomy import load_taxonomy

if TYPE_CHECKING:
    from torch import Tensor

SHEET, SHEETS = "candidates.png", "candidates-sheets"


class SampleConfig(Config):
    """How to sample; ``adapter`` and ``adapter_file`` say which IP-Adapter (see ``Generator``).

    ``guidance``, ``guide_donor``, ``donor_until`` and ``tuned_from`` are those of ``mema.diffusion.sampling.Schedule``,
    ``scheduler`` its solver. ``precision`` is that of the UNet and the VAE, "no" for float32, "auto" for bf16 where the
    machine multiplies it natively, else float32. ``compile`` has ``torch.compile`` compile the UNet, which takes
    minutes and pays for plans that take hours.
    """

    adapter: str = "ip-adapter-sd15"
    adapter_file: str | None = None
    steps: int = Field(default=20, ge=1)
    guidance: float = Field(default=7.5, ge=1)
    guide_donor: bool = True
    donor_until: float = Field(default=1.0, ge=0, le=1)
    tuned_from: float = Field(default=0.0, ge=0, le=1)
    scheduler: SchedulerName = "dpm"
    batch: int = Field(default=8, ge=1)
    shard_size: int = Field(default=64, ge=1)
    precision: Precision | Literal["auto"] = "no"
    compile: bool = False


def sample_plan(build: Build) -> ImageSet:
    """Write ``Build.candidates`` from ``Build.plan`` and return it; complete already, it is only opened.

    Rows that an earlier plan's candidates hold, made by the same weights with the same settings, are copied from them:
    after a top-up only the new rows are sampled, and what was kept stays to the byte what was audited.
    """
    made = write_samples(build, build.candidates, read_plan(build.plan), tuned=build.lora)
    write_sheets(build, made)
    return made


def write_samples(
    build: Build, path: Path, rows: Sequence[PlanRow], *, tuned: Path | None, label: str = "sample"
) -> ImageSet:
    """Write the images of ``rows`` to ``path`` as ``sample_plan`` does, by the build's checkpoint with ``tuned``."""
    config = build.section("sample", SampleConfig)
    precision = native_precision() if config.precision == "auto" else config.precision
    checkpoint = build.section("finetune", FinetuneConfig).checkpoint
    adapter = config.adapter if any(row.donor_id is not None for row in rows) else None
    generator = Generator(checkpoint, tuned, adapter, config.adapter_file)
    digest = generator_digest(generator)
    donors = None if adapter is None else ImageSet.open(build.donors)
    content = {
        "stage": "sample",
        "size": build.size,
        "plan": sha256_json([row.model_dump(mode="json") for row in rows]),
        "donors": None if donors is None else donors.digest,
        "generator": digest,
        "sample": config.model_dump(mode="json") | {"precision": precision},
    }
    aside = path.with_name(f"{path.name}-earlier")
    records = [record_of(row, digest) for row in rows]
    copies = Copies(set_aside(path, aside, content), records)
    images: list[Callable[[Sequence[PlanRow]], np.ndarray]] = []

    def make(start: int, stop: int) -> Iterator[Face]:
        there = copies.of(records[start:stop])
        missing = [row for row in rows[start:stop] if row.image_id not in there]
        if missing and not images:  # loading the models is worth it only if an image is missing
            pipes = [load_pipeline(generator, precision=precision)]
            if config.tuned_from > 0 and tuned is not None and adapter is not None:
                pipes.append(load_pipeline(generator._replace(tuned=None), precision=precision))
            if config.compile:
                for pipe in pipes:
                    compile_unet(pipe)
            tuned_pipe, untuned_pipe = pipes[0], pipes[-1]
            new = [row for row in rows if row.image_id not in copies.ids]
            faces = {} if donors is None else embed_donors(tuned_pipe, donors, new)
            images.append(
                lambda part: sample_rows(tuned_pipe, untuned_pipe, part, faces, size=build.size, config=config)
            )
        new_images = iter(images[0](missing)) if missing else iter(())
        for record in records[start:stop]:
            yield there.get(record.image_id) or Face(record, next(new_images))

    made = write_imageset(path, len(rows), make, config=content, shard_size=config.shard_size, label=label)
    shutil.rmtree(aside, ignore_errors=True)
    return made


def set_aside(path: Path, aside: Path, content: Mapping[str, Any]) -> ImageSet | None:
    """Move the complete image set of another plan from ``path`` to ``aside``, out of the way of the new one.

    Return what then lies ``aside``, from this run or a killed one, if but for the plan it was made as ``content`` says.
    """
    if (path / MARKER).is_file() and read_json(path / MARKER).get("config") != content:
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
    try:
        earlier = ImageSet.open(aside)
    except UserError:
        return None
    return earlier if {**earlier.config, "plan": None} == {**content, "plan": None} else None


class Copies:
    """The faces of an earlier image set whose records are among those wanted now; ``ids`` are their image ids."""

    def __init__(self, earlier: ImageSet | None, records: Sequence[FaceRecord]) -> None:
        before = {} if earlier is None else {r.image_id: (place, r) for place, r in enumerate(earlier.records())}
        self.ids: set[str] = set()
        self._faces = iter(()) if earlier is None else earlier.faces()
        last = -1
        for record in records:
            place, other = before.get(record.image_id, (-1, None))
            # The earlier set is read once from front to back, so what stands in another order is not copied.
            if other == record and place > last:
                self.ids.add(record.image_id)
                last = place

    def of(self, records: Sequence[FaceRecord]) -> dict[str, Face]:
        """Return, by image id, the copies for a run of the records; runs must come in order, some may be left out."""
        wanted = {record.image_id for record in records} & self.ids
        found: dict[str, Face] = {}
        while len(found) < len(wanted) and (face := next(self._faces, None)) is not None:
            if face.record.image_id in wanted:
                found[face.record.image_id] = face
        return found


def sample_rows(
    pipe: Any, untuned: Any, rows: Sequence[PlanRow], donors: Mapping[str, Tensor], *, size: int, config: SampleConfig
) -> np.ndarray:
    """Return the images of ``rows``, uint8 (N, size, size, 3); ``donors`` are embeddings by donor id.

    ``pipe`` and ``untuned`` are those of ``mema.diffusion.sampling.sample``.
    """
    drawings = [
        Drawing(row.prompt, row.seed)
        if row.donor_id is None
        else Drawing(row.prompt, row.seed, donors[row.donor_id], row.donor_weight or 0.0)
        for row in rows
    ]
    schedule = Schedule(
        steps=config.steps,
        guidance=config.guidance,
        guide_donor=config.guide_donor,
        donor_until=config.donor_until,
        tuned_from=config.tuned_from,
        solver=config.scheduler,
    )
    return sample(pipe, drawings, size=size, schedule=schedule, untuned=untuned, batch=config.batch)


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


def write_sheets(build: Build, made: ImageSet) -> None:
    """Write contact sheets: ``candidates.png`` with a row a disease, and one of each disease with a row a severity."""
    taxonomy = load_taxonomy(build.clinic)
    sheets = build.candidates.with_name(SHEETS)
    shutil.rmtree(sheets, ignore_errors=True)
    pictures = first_of_each_kind(made)
    overview = {}
    for disease in taxonomy.diseases:
        rows = {level or "": pictures.get((disease.code, level), []) for level in (*taxonomy.levels, None)}
        rows = {level: row for level, row in rows.items() if row}
        mixed = [image for images in zip_longest(*rows.values()) for image in images if image is not None]
        overview[disease.name] = mixed[:COLUMNS]
        if rows:
            title = f"Virtual patients of {build.name}: {disease.name}"
            write_contact_sheet(sheets / f"{disease.code}.png", title, rows)
    write_contact_sheet(build.candidates.with_name(SHEET), f"Virtual patients of {build.name}", overview)


def first_of_each_kind(made: ImageSet, count: int = COLUMNS) -> dict[tuple[str | None, str | None], list[np.ndarray]]:
    """Return up to ``count`` images of each disease and severity, the first ones; reads no more shards than it must."""
    kinds = Counter((record.disease, record.severity) for record in made.records())
    pictures: dict[tuple[str | None, str | None], list[np.ndarray]] = {kind: [] for kind in kinds}
    missing = sum(min(count, present) for present in kinds.values())
    faces = made.faces()
    while missing:
        face = next(faces)
        row = pictures[face.record.disease, face.record.severity]
        if len(row) < count:
            row.append(face.image)
            missing -= 1
    return pictures
