"""A reader study: originals, the same again and de-identified images, blinded, for physicians to read.

``mema benchmark readers`` writes a folder that is a build of its own: ``build.yaml``, which `mema annotate push` and
`pull` take, and the images under names that tell nothing. ``key.json`` says which image of which arm each name stands
for: readers must not see it. The track ``agreement`` compares the answers (``benchmark.agreement.study``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import yaml

from benchmark.names import check_name
from mema.annotations import Annotation, read_annotations, read_progress, reading
from mema.build import Build
from mema.config import Config, read_yaml, validate
from mema.errors import UserError
from mema.files import atomic_write, read_json, sha256_json, write_json
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord
from mema.release import Release
from mema.taxonomy import load_taxonomy

BUILD = "build.yaml"
KEY = "key.json"
# Where `mema annotate push` looks for a build's images.
KEPT = "kept"
ORIGINAL, AGAIN = "original", "again"


class Key(Config):
    """``arms``: digest of the image set of each arm; ``images``: arm and image id of each blinded name."""

    arms: dict[str, str]
    images: dict[str, tuple[str, str]]

    @property
    def candidates(self) -> str:
        """What the answers must be of."""
        return sha256_json(self.model_dump(mode="json"))


class Study(NamedTuple):
    """A study that was written, with its key."""

    build: Build
    key: Key

    def arm_of(self, originals: ImageSet, images: ImageSet) -> str:
        """Return the arm that holds ``images``; UserError when they or their ``originals`` were not in the study."""
        if self.key.arms[ORIGINAL] != originals.digest:
            raise UserError(f"{self.build.config_path}: the study is of another release")
        for arm, digest in self.key.arms.items():
            if arm not in (ORIGINAL, AGAIN) and digest == images.digest:
                return arm
        known = ", ".join(arm for arm in self.key.arms if arm not in (ORIGINAL, AGAIN))
        raise UserError(
            f"{self.build.config_path}: nobody was asked to read the images of {images.path}; the study has {known}:"
            " write one with `mema benchmark readers`"
        )

    def said(self) -> dict[str, dict[tuple[str, str], str]]:
        """Return what each reader says: ``said[reader][arm, image_id]``; UserError while answers are missing."""
        if waiting := [one for one in read_progress(self.build.answers) if one.answered < one.asked]:
            first = waiting[0]
            raise UserError(
                f"{self.build.answers}: {first.annotator} has answered {first.answered} of {first.asked}: "
                "`mema annotate pull` again when all have answered"
            )
        said: dict[str, dict[tuple[str, str], str]] = {}
        for one in self._answers():
            # Later rounds show people what was disputed.
            if one.round == 0 and one.image_id in self.key.images:
                said.setdefault(one.annotator, {})[self.key.images[one.image_id]] = reading(one)
        if not said:
            raise UserError(f"{self.build.answers}: nobody has answered yet")
        return said

    def by_machine(self, reader: str) -> bool:
        """Whether a reader is a model."""
        return any(one.by_machine for one in self._answers() if one.annotator == reader)

    def _answers(self) -> list[Annotation]:
        taxonomy = load_taxonomy(self.build.clinic)
        return read_annotations(
            self.build.answers, taxonomy, candidates=self.key.candidates, command="mema annotate pull"
        )


def write_study(build: Build, methods: Sequence[str], folder: Path) -> Study:
    """Write the study of ``methods``, whose images a run has made, to ``folder``; an interrupted one goes on.

    What a method did not deliver is not shown. UserError for a method that did not run, and for a folder that holds
    another study.
    """
    originals = Release.open(build.release).imageset("validation")
    sets = {ORIGINAL: originals, AGAIN: originals}
    if clash := sorted(set(methods) & set(sets)):
        raise UserError(f"a method called '{clash[0]}' cannot be in a study: it is what the originals are called there")
    sets |= {check_name(name): ImageSet.open(build.benchmark / name / "images") for name in methods}
    shown = [
        (arm, record.image_id)
        for arm, images in sets.items()
        for record in images.records()
        if record.image_id not in _failed(images)
    ]
    digests = {arm: images.digest for arm, images in sets.items()}
    key = Key(arms=digests, images={f"r{sha256_json([digests, *one])[:20]}": one for one in shown})
    if (folder / KEY).is_file() and _read_key(folder) != key:
        raise UserError(f"{folder}: holds another study: name a new folder")
    write_json(folder / KEY, key.model_dump(mode="json"))
    faces = _blinded(sets, key)
    position = 0

    def make(start: int, stop: int) -> Iterator[Face]:
        nonlocal position
        yield from islice(faces, start - position, stop - position)
        position = stop

    place = folder / "filtered" / KEPT
    write_imageset(place, len(shown), make, config={"stage": "readers", "candidates": key.candidates}, label="readers")
    values = {
        "name": f"{build.name[:56]}-readers",
        "clinic": build.clinic,
        "size": build.size,
        "paths": {"private": str(folder / "private"), "runs": str(folder), "answers": str(folder / "answers")},
        "annotate": {"by": "physicians"},
        "label_studio": read_yaml(build.config_path).get("label_studio") or {},
    }
    atomic_write(folder / BUILD, yaml.safe_dump(values, sort_keys=False))
    return open_study(folder)


def open_study(folder: Path) -> Study:
    """Open what ``write_study`` wrote; UserError when there is none."""
    if not (folder / BUILD).is_file():
        raise UserError(f"{folder} holds no study: write it with `mema benchmark readers`")
    return Study(Build.load(folder / BUILD), _read_key(folder))


def _read_key(folder: Path) -> Key:
    return validate(Key, read_json(folder / KEY), str(folder / KEY))


def _blinded(sets: dict[str, ImageSet], key: Key) -> Iterator[Face]:
    names = {one: name for name, one in key.images.items()}
    for arm, images in sets.items():
        for face in images.faces():
            if name := names.get((arm, face.record.image_id)):
                yield Face(FaceRecord(image_id=name, subject_id=name), face.image)


def _failed(images: ImageSet) -> set[str]:
    return {image_id for file in images.path.glob("failures-*.json") for image_id in read_json(file)}
