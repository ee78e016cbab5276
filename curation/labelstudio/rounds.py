"""Rounds: who is shown which images in which order, written down before anything is pushed.

Round 0 shows what the filter kept. Each later round shows the disputes of those before it, and settles them. A round
is a function of its file ``round-<number>.json``, so a push that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
from itertools import combinations
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field

from mema.config import Config, validate
from mema.errors import UserError
from mema.files import read_json, sha256_json, write_json
from mema.records import Identifier


class Shown(NamedTuple):
    """One task: an image, shown for the first time or, to measure self-agreement, again."""

    image_id: str
    again: bool


class Round(Config):
    """The plan of a round; ``projects`` says which project of the server ``url`` belongs to which annotator.

    ``candidates`` is the digest of the image set to which the image ids belong, ``height`` and ``width`` are in pixels.
    """

    number: int = Field(ge=0)
    candidates: str
    images: tuple[Identifier, ...]
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    annotators: tuple[str, ...]
    per_image: int = Field(ge=1)
    repeated: Annotated[float, Field(ge=0, le=0.5)]
    seed: int
    url: str = ""
    projects: dict[str, int] = Field(default_factory=dict)

    @property
    def batch(self) -> str:
        """Names the round's folder of images; it tells nothing."""
        return self._hash("batch")[:16]

    def queue(self, annotator: str) -> list[Shown]:
        """Return what ``annotator`` is shown, in order.

        Every group of ``per_image`` annotators gets as many images as any other. What is repeated comes from the first
        half and returns in the second, so that the picture is not remembered.
        """
        order = list(self.images)
        np.random.default_rng(self.seed).shuffle(order)
        groups = list(combinations(self.annotators, self.per_image))
        mine = [image_id for place, image_id in enumerate(order) if annotator in groups[place % len(groups)]]
        own = np.random.default_rng([self.seed, int(hashlib.sha256(annotator.encode()).hexdigest()[:8], 16)])
        own.shuffle(mine)
        half = len(mine) // 2
        repeats = own.permutation(half)[: round(self.repeated * len(mine))]
        second = [Shown(image_id, False) for image_id in mine[half:]]
        for index in sorted(repeats):
            second.insert(int(own.integers(0, len(second) + 1)), Shown(mine[index], True))
        return [Shown(image_id, False) for image_id in mine[:half]] + second

    def key(self, shown: Shown) -> str:
        """Return the name under which an annotator meets an image: a hash, another one when it comes again."""
        return self._hash(shown.image_id, shown.again)[:24]

    def _hash(self, *parts: object) -> str:
        return sha256_json([self.candidates, self.number, self.seed, *parts])

    def same_plan(self, other: Round) -> bool:
        """Whether both show the same images to the same people in the same order."""
        bare: dict[str, object] = {"url": "", "projects": {}}
        return self.model_copy(update=bare) == other.model_copy(update=bare)

    def save(self, folder: Path) -> None:
        """Write ``round-<number>.json``."""
        write_json(folder / f"round-{self.number}.json", self.model_dump(mode="json"))


def load_rounds(folder: Path) -> list[Round]:
    """Return the rounds of ``folder``, in order; UserError when a file is not one."""
    rounds: list[Round] = []
    while (path := folder / f"round-{len(rounds)}.json").is_file():
        one = validate(Round, read_json(path), str(path))
        if one.number != len(rounds):
            raise UserError(f"{path}: number: {one.number} is not {len(rounds)}")
        rounds.append(one)
    return rounds
