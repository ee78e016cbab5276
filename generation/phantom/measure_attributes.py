"""How far estimators of age and gender are off, by age, gender and skin tone: asked of donors whose truth is known.

The estimators learnt from photographs, so on phantoms the numbers say how phantoms look to them, and where they would
mislabel donors of this world; they are no measurement of the estimators on people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from generation.phantom.anatomy import Subject
from generation.phantom.population import draw_donor
from generation.phantom.render import render_batch
from mema.engine import batches
from mema.faces.attributes import Attributes, Estimator
from mema.statistics import clustered_bootstrap, wilson

BATCH = 32
AGES = ((5, 20), (20, 40), (40, 60), (60, 91))
TONES = {"light (1-4)": (1, 5), "medium (5-7)": (5, 8), "dark (8-10)": (8, 11)}


class Measured(NamedTuple):
    """A value and its 95 % interval; NaN where there is nothing to measure."""

    value: float
    low: float
    high: float


class Row(NamedTuple):
    """What an estimator says of one group of donors.

    ``photos`` are in the group, in ``read`` of them it saw a face; of these ``age_error`` is the mean absolute error in
    years (bootstrap interval), ``age_bias`` the mean of estimate - truth, and ``gender_right`` the share of right
    genders (Wilson interval).
    """

    group: str
    photos: int
    read: int
    age_error: Measured
    age_bias: float
    gender_right: Measured


def measure_attributes(
    estimators: Sequence[Estimator], photos: int = 500, *, size: int = 128, seed: int = 0, workers: int = 1
) -> dict[str, list[Row]]:
    """Let each estimator read one photo (``size`` px) of each of ``photos`` donors; its rows by its name."""
    from tqdm import tqdm

    cases = [draw_donor(index, seed) for index in range(photos)]
    jobs = [(case.subject, case.shots[0], case.finding) for case in cases]
    said: dict[str, list[Attributes]] = {instrument.name: [] for instrument in estimators}
    rendered = (photo.image for photo in render_batch(jobs, size=size, workers=workers))
    with tqdm(total=photos, desc="read donors", unit="image", disable=None) as bar:
        for batch in batches(jobs, BATCH):
            images = np.stack([next(rendered) for _ in batch])
            for instrument in estimators:
                said[instrument.name].append(instrument.estimate(images))
            bar.update(len(batch))
    subjects = [case.subject for case in cases]
    return {name: summarise(subjects, _joined(parts), seed=seed) for name, parts in said.items()}


def summarise(subjects: Sequence[Subject], said: Attributes, *, seed: int = 0) -> list[Row]:
    """Return the rows of all subjects and of each age, gender and skin tone; groups of nobody are left out."""
    return [_row(name, subjects, said, members, seed) for name, members in _groups(subjects) if members.any()]


def table(rows: Mapping[str, Sequence[Row]]) -> str:
    """Return the rows of each estimator as text."""
    lines = []
    for name, groups in rows.items():
        lines += [
            f"{name}, one photo of each phantom donor, 95 % intervals",
            f"  {'':14} {'photos':>6} {'read':>5}  {'age error, years':>20}  {'bias':>6}  {'gender right, %':>20}",
        ]
        for row in groups:
            error, right = _cell(row.age_error), _cell(row.gender_right, 100)
            lines.append(
                f"  {row.group:14} {row.photos:6} {row.read:5}  {error:>20}  {row.age_bias:+6.1f}  {right:>20}"
            )
        lines.append("")
    return "\n".join(lines[:-1])


def _groups(subjects: Sequence[Subject]) -> Iterator[tuple[str, np.ndarray]]:
    ages = np.array([subject.age for subject in subjects])
    genders = np.array([subject.gender for subject in subjects])
    tones = np.array([subject.skin_tone for subject in subjects])
    yield "all", np.ones(len(subjects), bool)
    for low, high in AGES:
        yield f"age {low}-{high - 1}", (ages >= low) & (ages < high)
    for gender in ("female", "male"):
        yield gender, genders == gender
    for name, (first, end) in TONES.items():
        yield name, (tones >= first) & (tones < end)


def _row(name: str, subjects: Sequence[Subject], said: Attributes, members: np.ndarray, seed: int) -> Row:
    truth = np.array([subject.age for subject in subjects], float)
    genders = np.array([subject.gender for subject in subjects], object)
    read = members & ~np.isnan(said.ages)
    count = int(read.sum())
    unknown = Measured(np.nan, np.nan, np.nan)
    if not count:
        return Row(name, int(members.sum()), 0, unknown, np.nan, unknown)
    errors = said.ages[read] - truth[read]
    right = int((said.genders[read] == genders[read]).sum())
    return Row(
        group=name,
        photos=int(members.sum()),
        read=count,
        age_error=Measured(float(np.abs(errors).mean()), *clustered_bootstrap(np.abs(errors), range(count), seed=seed)),
        age_bias=float(errors.mean()),
        gender_right=Measured(right / count, *wilson(right, count)),
    )


def _joined(parts: Sequence[Attributes]) -> Attributes:
    return Attributes(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _cell(measured: Measured, scale: float = 1) -> str:
    value, low, high = (scale * number for number in measured)
    return "-" if np.isnan(value) else f"{value:.1f} [{low:.1f}, {high:.1f}]"
