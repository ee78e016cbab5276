"""FaceRecord: one image and what is known of it, the one schema that every stage reads and writes (DESIGN §2)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1

Gender = Literal["female", "male"]
Severity = Literal["slight", "mid", "heavy"]
Split = Literal["train", "selection", "validation"]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class Provenance(BaseModel):
    """How an image came to be; every field is empty for a photo that was taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str | None = None
    seed: int | None = None
    donor_id: Identifier | None = None
    donor_weight: Annotated[float, Field(ge=0, le=1)] | None = None
    generator: str | None = Field(default=None, description="sha256 of the weights that made the image")
    parents: tuple[Identifier, ...] = ()
    annotator: str | None = Field(default=None, description="who gave disease and severity, if not the prompt")


class FaceRecord(BaseModel):
    """One image: identifiers are pseudonyms; unknown fields are an error.

    ``age`` is in years, ``skin_tone`` a step of the Monk scale, ``has_mask`` says whether a lesion mask of the
    image's size lies beside it. A virtual patient is its own subject.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_id: Identifier
    subject_id: Identifier
    disease: str | None = None
    severity: Severity | None = None
    age: Annotated[float, Field(ge=0, le=120)] | None = None
    gender: Gender | None = None
    skin_tone: Annotated[int, Field(ge=1, le=10)] | None = None
    has_mask: bool = False
    split: Split | None = None
    provenance: Provenance = Provenance()
