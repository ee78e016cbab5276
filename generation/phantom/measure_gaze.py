"""How far gaze estimators are off, in degrees: asked of phantoms, whose every line of sight is known.

The patients are of the population "judges", whom no instrument was trained on. On phantoms the numbers of an estimator
that learnt from photographs say how phantoms look to it, and nothing of people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from generation.phantom.canvas import Finding
from generation.phantom.eyes import gaze_angles
from generation.phantom.population import Case, draw_patient
from generation.phantom.render import render_batch
from generation.phantom.shot import Shot
from mema.engine import batches
from mema.faces.gaze import GazeEstimator, angle_between, rolled
from mema.statistics import clustered_bootstrap
from mema.taxonomy import load_taxonomy

BATCH = 32
CLINIC = "eye_clinic"


class Row(NamedTuple):
    """What an estimator says of one group of lines of sight, in degrees.

    Of ``lines`` it read ``read``; of these ``error`` is the mean angle to the truth, from ``low`` to ``high`` (95 %
    bootstrap interval, whole patients drawn), ``yaw`` and ``pitch`` the mean absolute errors of each, and ``guess``
    what the angle would be if it always said the mean of the truth. NaN where nothing was read.
    """

    group: str
    lines: int
    read: int
    error: float
    low: float
    high: float
    yaw: float
    pitch: float
    guess: float


def true_gaze(shot: Shot, finding: Finding) -> np.ndarray:
    """Return (yaw, pitch) of the subject's right and left eye, (2, 2), in degrees in the axes of the camera.

    ``render.Photo.gaze`` and the shot leave the head's roll out; here it turns the lines of sight.
    """
    upright = np.array([gaze_angles(shot, state, index) for index, state in enumerate(finding.eyes)])
    return rolled(upright, np.full(2, shot.roll))


def deviates(finding: Finding) -> np.ndarray:
    """Say which eyes a strabismus turns away from what the other looks at, bool (2,), the subject's right first."""
    return np.array([bool(state.deviation_horizontal or state.deviation_vertical) for state in finding.eyes])


def measure_gaze(
    estimators: Sequence[GazeEstimator], photos: int = 400, *, size: int = 128, seed: int = 0, workers: int = 1
) -> dict[str, list[Row]]:
    """Let each estimator read ``photos`` patients (``size`` px); its rows by its name."""
    from tqdm import tqdm

    cases = gaze_cases("judges", photos, seed=seed)
    jobs = [(case.subject, case.shots[0], case.finding) for case in cases]
    said: dict[str, list[np.ndarray]] = {instrument.name: [] for instrument in estimators}
    rendered = (photo.image for photo in render_batch(jobs, size=size, workers=workers))
    with tqdm(total=photos, desc="read gaze", unit="image", disable=None) as bar:
        for batch in batches(jobs, BATCH):
            images = np.stack([next(rendered) for _ in batch])
            for instrument in estimators:
                said[instrument.name].append(instrument.estimate(images))
            bar.update(len(batch))
    return {name: summarise(cases, np.concatenate(parts), seed=seed) for name, parts in said.items()}


def gaze_cases(population: str, photos: int, *, seed: int = 0) -> list[Case]:
    """Draw patients of the eye clinic, one photo each, diseases in turn, half of them by a clinic's protocol."""
    codes = load_taxonomy(CLINIC).codes
    return [
        draw_patient(
            population,
            CLINIC,
            index,
            seed,
            disease=codes[index % len(codes)],
            photos=(1, 1),
            photography="clinical" if index // len(codes) % 2 else "free",
        )
        for index in range(photos)
    ]


def summarise(cases: Sequence[Case], said: np.ndarray, *, seed: int = 0) -> list[Row]:
    """Return the rows of what was ``said`` of ``cases``, (N, lines, 2), NaN where no face was seen.

    An estimator of both eyes is compared with each; one of a single line of sight with the fixing eye's, the one that
    no strabismus turns. Groups of nobody are left out.
    """
    truth = np.stack([true_gaze(case.shots[0], case.finding) for case in cases])
    turned = np.stack([deviates(case.finding) for case in cases])
    ill = np.array([case.disease for case in cases])[:, None] + np.full(truth.shape[:2], "")
    patient = np.arange(len(cases))[:, None] + np.zeros(truth.shape[:2], int)
    if said.shape[1] == 1:
        fixing = turned.argmin(axis=1)[:, None]
        truth = np.take_along_axis(truth, fixing[..., None], axis=1)
        turned, ill, patient = (np.take_along_axis(each, fixing, axis=1) for each in (turned, ill, patient))
    squint = ill == "strabismus"
    groups = {
        "all": np.ones(squint.shape, bool),
        "well": ill == "normal",
        "strabismus, fixing eye": squint & ~turned,
        "strabismus, turned eye": squint & turned,
        "other diseases": ~squint & (ill != "normal"),
    }
    return [
        _row(name, truth[members], said[members], patient[members], seed)
        for name, members in groups.items()
        if members.any()
    ]


def table(rows: Mapping[str, Sequence[Row]]) -> str:
    """Return the rows of each estimator as text."""
    lines = []
    for name, groups in rows.items():
        lines += [
            f"{name}, lines of sight of unseen phantom patients, degrees, 95 % intervals",
            f"  {'':22} {'lines':>5} {'read':>5}  {'error':>17}  {'yaw':>5} {'pitch':>5}  {'guess':>5}",
        ]
        for row in groups:
            error = f"{row.error:.1f} [{row.low:.1f}, {row.high:.1f}]" if row.read else "-"
            rest = f"{row.yaw:5.1f} {row.pitch:5.1f}  {row.guess:5.1f}" if row.read else ""
            lines.append(f"  {row.group:22} {row.lines:5} {row.read:5}  {error:>17}  {rest}".rstrip())
        lines.append("")
    return "\n".join(lines[:-1])


def _row(group: str, truth: np.ndarray, said: np.ndarray, patients: np.ndarray, seed: int) -> Row:
    """Both arrays are (L, 2), ``patients`` (L,) says whose line each is."""
    read = ~np.isnan(said).any(axis=1)
    if not read.any():
        return Row(group, len(read), 0, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan)
    errors = angle_between(said[read], truth[read])
    low, high = clustered_bootstrap(errors, patients[read].tolist(), seed=seed)
    yaw, pitch = np.abs(said[read] - truth[read]).mean(axis=0)
    guess = angle_between(truth[read], truth[read].mean(axis=0)).mean()
    return Row(
        group=group,
        lines=len(read),
        read=len(errors),
        error=float(errors.mean()),
        low=low,
        high=high,
        yaw=float(yaw),
        pitch=float(pitch),
        guess=float(guess),
    )
