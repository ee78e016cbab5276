"""Result: what one method scored on one release under one protocol, per image and in sum (DESIGN §2)."""

from __future__ import annotations

from collections.abc import Sized
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from mema.errors import UserError
from mema.files import atomic_write, read_json

SCHEMA_VERSION = 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Interval(_Strict):
    """A confidence interval ``low`` to ``high`` at ``level``."""

    low: float
    high: float
    level: float = 0.95


class Metric(_Strict):
    """One number of a result: its definition's version, direction, interval and value per class."""

    name: str
    version: str
    value: float
    higher_is_better: bool
    interval: Interval | None = None
    per_class: dict[str, float] = {}


class Method(_Strict):
    """A de-identifier as it ran: parameters resolved, ``prior`` in the words of MeMa Table 3."""

    name: str
    revision: str
    reversible: bool
    prior: str
    parameters: dict[str, Any] = {}


class ReleaseReference(_Strict):
    """Which release was read; ``digest`` is the hash of all its files."""

    name: str
    version: str
    digest: str


class Protocol(_Strict):
    """Which rules applied; a change that moves a score bumps the version."""

    name: str
    version: str


class Attack(_Strict):
    """One way of tracing de-identified images, and its certificate.

    ``rates`` are the shares of images that it traced of planted weak methods, of which it ``needed`` this much for its
    scores to mean anything. ``ranked``: whether they then count in an image's worst case, as ``attack.<name>`` of the
    result; those that do not are ``aside.<name>``. ``keyed``: whether it is for reversible methods alone. ``note`` says
    why scores do not count, or why there are none.
    """

    name: str
    title: str
    ranked: bool
    keyed: bool = False
    rates: dict[str, float]
    needed: float
    note: str = ""

    @property
    def certified(self) -> bool:
        """Whether it broke every weak method that it had to."""
        return all(rate >= self.needed for rate in self.rates.values())


class Failure(_Strict):
    """An image that the method did not deliver, and why."""

    image_id: str
    reason: str


class Result(_Strict):
    """A method × release × protocol, with one score per image so that rankings can be derived again.

    ``scores[name][i]`` belongs to ``image_ids[i]``; None where the image has no such score.
    """

    schema_version: int = SCHEMA_VERSION
    method: Method
    release: ReleaseReference
    protocol: Protocol
    metrics: list[Metric]
    seeds: list[int]
    git_hash: str | None
    hardware: str
    counts: dict[str, int]
    failures: list[Failure]
    attacks: list[Attack] = []
    image_ids: list[str]
    subject_ids: list[str]
    scores: dict[str, list[float | None]]

    @model_validator(mode="after")
    def _one_score_per_image(self) -> Result:
        columns: dict[str, Sized] = {"subject_ids": self.subject_ids, **self.scores}
        for name, column in columns.items():
            if len(column) != len(self.image_ids):
                raise ValueError(f"'{name}' has {len(column)} entries for {len(self.image_ids)} images")
        return self

    def metric(self, name: str) -> Metric:
        """Return the metric called ``name``; UserError if the result has none."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise UserError(f"result of '{self.method.name}' has no metric '{name}'")

    def save(self, path: Path | str) -> Path:
        """Write the result as JSON; the same result gives the same bytes."""
        return atomic_write(path, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: Path | str) -> Result:
        """Read a result; UserError names the file and the first field that is wrong."""
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
