"""Annotate: what is said of the kept images, by an oracle or by physicians, becomes the annotations of the build.

``mema curate annotate --config configs/demo.yaml``. With ``annotate.by: physicians`` it takes what `mema annotate pull`
froze in ``Build.answers``. The oracle plays the physician of the demo: every kept image is shown to the clinic's judge,
and everything it says is marked as a machine's. It accepts what it reads with confidence, and gives its own reading of
the disease, never the prompt's. It cannot read a severity and gives none: the level that was asked for stays in the
record's prompt. With a segmenter it also outlines what it reads as a lesion.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from curation.filter import KEPT
from curation.reading import read_rows
from mema.annotations import MACHINE, TABLE, Annotation, read_annotations, write_annotations, write_mask
from mema.build import Build
from mema.config import Config
from mema.engine import map_batches
from mema.errors import UserError
from mema.faces.leakage import rate
from mema.files import empty_beside, replace_folder, sha256_file, write_json
from mema.imageset import ImageSet
from mema.taxonomy import Taxonomy, load_taxonomy
from mema.weights import locate

if TYPE_CHECKING:
    from curation.segmenting.segmenter import Segmenter

READING = "reading.json"
BATCH = 64
UNCLEAR = "no disease is read with confidence"


class AnnotateConfig(Config):
    """``by`` whom. The oracle has ``weights`` of a mema.classifier (None: the clinic's phantom judge) and accepts an
    image when the likeliest disease has at least the probability ``confidence``. Where that disease has a lesion mask,
    ``segmenter`` (None: nobody) outlines it without a click, if it expects an IoU of ``least_score`` of the outline."""

    by: Literal["oracle", "physicians"] = "oracle"
    weights: str | None = None
    confidence: float = Field(default=0.5, ge=0, le=1)
    segmenter: str | None = None
    least_score: float = Field(default=0.5, ge=0, le=1)


def take_answers(build: Build) -> dict[str, int]:
    """Copy ``Build.answers`` to ``Build.annotations``; return how many images each annotator has answered.

    UserError when nothing was pulled, nobody has answered, or the answers are of other candidates.
    """
    candidates = ImageSet.open(build.filtered / KEPT).config["candidates"]
    taxonomy = load_taxonomy(build.clinic)
    given = read_annotations(build.answers, taxonomy, candidates=candidates, command="mema annotate pull")
    if not given:
        raise UserError(f"{build.answers / TABLE}: nobody has answered yet: run `mema annotate pull` when somebody has")
    staging = empty_beside(build.annotations)
    shutil.copytree(build.answers, staging)
    replace_folder(staging, build.annotations)
    return dict(Counter(one.annotator for one in given if one.round == 0))


def run_annotate(build: Build) -> dict[str, Any]:
    """Let the oracle annotate ``Build.filtered/kept``; writes ``annotations.csv`` and ``reading.json``, returned too.

    ``reading.json`` holds aggregates: accepted and rejected, how often the reading is the prompt's disease, the table
    prompted x read of the accepted, and how many were outlined. UserError when the weights are missing or know other
    diseases.
    """
    from curation.segmenting.segmenter import load_segmenter
    from mema.classifier import load, predict

    config = build.section("annotate", AnnotateConfig)
    taxonomy = load_taxonomy(build.clinic)
    kept = ImageSet.open(build.filtered / KEPT)
    weights = config.weights or f"phantom-judge/{build.clinic}"
    path = locate(weights)
    model = load(path)
    strange = sorted(set(model.classes) - set(taxonomy.codes))
    if strange:
        raise UserError(f"weights '{weights}' know the disease '{strange[0]}', which {taxonomy.name} does not")

    def read(rows: Any) -> np.ndarray:
        return predict(model, np.stack([face.image for face in read_rows(kept.path, rows[0], rows[-1] + 1)]))

    parts = list(map_batches(read, range(kept.count), batch_size=BATCH, label="annotate"))
    annotator = f"{MACHINE}{weights}@{sha256_file(path)[:12]}"
    segmenter = load_segmenter(config.segmenter) if config.segmenter else None
    if segmenter is not None:
        annotator += f"+{segmenter.version}"
    records = kept.records()
    annotations = [
        _annotation(record.image_id, annotator, row, model.classes, config.confidence)
        for record, row in zip(records, np.concatenate(parts) if parts else [], strict=True)
    ]
    staging = empty_beside(build.annotations)
    if segmenter is not None:
        annotations = _outlined(staging, kept, annotations, taxonomy, segmenter, config.least_score)
    write_annotations(staging, annotations, candidates=kept.config["candidates"])
    pairs = [(r.disease or "", a.disease or "") for r, a in zip(records, annotations, strict=True) if a.accept]
    table = Counter(pairs)
    prompted = sorted({before for before, _ in pairs})
    reading = {
        "annotator": annotator,
        "machine_annotated": True,
        "images": kept.count,
        "accepted": len(pairs),
        "outlined": sum(one.mask is not None for one in annotations),
        "as_prompted": rate(np.array([before == after for before, after in pairs])).model_dump(),
        "read_by_prompted": {
            before: {code: table[before, code] for code in taxonomy.codes if table[before, code]} for before in prompted
        },
    }
    write_json(staging / READING, reading)
    replace_folder(staging, build.annotations)
    return reading


def _annotation(
    image_id: str, annotator: str, probabilities: np.ndarray, classes: tuple[str, ...], confidence: float
) -> Annotation:
    best = int(probabilities.argmax())
    if probabilities[best] < confidence:
        return Annotation(image_id=image_id, annotator=annotator, accept=False, reason=UNCLEAR)
    return Annotation(image_id=image_id, annotator=annotator, accept=True, disease=classes[best])


def _outlined(
    folder: Path,
    kept: ImageSet,
    annotations: Sequence[Annotation],
    taxonomy: Taxonomy,
    segmenter: Segmenter,
    least_score: float,
) -> list[Annotation]:
    """Write an outline of each lesion that the annotations name to ``folder``; return them with their masks."""
    from tqdm import tqdm

    from curation.segmenting.proposals import search

    lesions = {disease.code for disease in taxonomy.diseases if disease.lesion_mask}
    masked = []
    with tqdm(total=sum(one.disease in lesions for one in annotations), desc="outlines", unit="image") as bar:
        for face, annotation in zip(kept.faces(), annotations, strict=True):
            if annotation.disease in lesions:
                found = search(segmenter, face.image)
                if found.score >= least_score and found.mask.any():
                    annotation = write_mask(folder, annotation, found.mask)
                bar.update()
            masked.append(annotation)
    return masked
