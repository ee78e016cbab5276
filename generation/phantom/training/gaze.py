r"""Fit the phantom gaze estimator on instruments' subjects who look about.

    python -m generation.phantom.training.gaze --out weights/phantom-gaze.safetensors

Ridge regression on the features of ``mema.faces.phantom_gaze``. What is printed is the error on people whom it left
out; ``mema phantom gaze`` says more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from generation.phantom.measure_gaze import gaze_cases, true_gaze
from generation.phantom.population import Case
from mema.errors import run_script
from mema.faces.gaze import angle_between, rolled

YAW, PITCH = 25.0, 15.0
"""How far gaze may leave the way that the head drew it, in degrees."""
BLURS = (0.0, 0.8)
"""Standard deviations in pixels: generated photos are softer than rendered ones."""
STRENGTHS = (30.0, 100.0, 300.0, 1000.0, 3000.0)


def looking_about(cases: Sequence[Case]) -> list[Case]:
    """Let the people of ``cases`` look further about than who is photographed, whatever way their heads are turned.

    So the estimator learns to read eyes rather than heads.
    """
    looking = []
    for case in cases:
        shot = case.shots[0]
        random = np.random.default_rng([shot.seed, 0x6A2E])
        turned = replace(
            shot,
            gaze_yaw=0.55 * shot.yaw + float(random.uniform(-YAW, YAW)),
            gaze_pitch=0.55 * shot.pitch + float(random.uniform(-PITCH, PITCH)),
        )
        looking.append(replace(case, shots=(turned,)))
    return looking


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The .safetensors file to write.")
@click.option("--photos", default=640, show_default=True, help="One of each patient.")
@click.option("--workers", default=1, show_default=True, help="Processes that render.")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("runs/training"), show_default=True)
def main(out: Path, photos: int, workers: int, cache: Path) -> None:
    """Render the photos once, read their eyes, fit, write float32 weights."""
    from safetensors.numpy import save

    from generation.phantom.training.recogniser_data import rendered
    from mema.files import atomic_write

    cases = looking_about(gaze_cases("instruments", photos))
    images = rendered(cases, cache / f"gaze-{photos}.npy", workers=workers)
    features, angles, patients = eyes_of(cases, images)
    weights, error = fit(features, angles, patients)
    atomic_write(out, save({"weights": weights.astype(np.float32)}))
    guess = angle_between(angles, angles.mean(axis=0)).mean()
    click.echo(f"{len(features)} eyes, left-out patients: off by {error:.1f} degrees, a guess by {guess:.1f}; {out}")


def eyes_of(cases: Sequence[Case], images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what is read of every eye, sharp and blurred: features (E, F), angles (E, 2) and whose it is (E,).

    The angles are what the estimator's linear function is to say: upright, the left eye's as if in a mirror.
    """
    from PIL import Image, ImageFilter

    from mema.faces.detector import landmarks
    from mema.faces.phantom_gaze import describe, unmirrored

    features, angles, patients = [], [], []
    for number, (case, image) in enumerate(zip(cases, images, strict=True)):
        truth = true_gaze(case.shots[0], case.finding)
        for spread in BLURS:
            soft = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(spread)))
            points = landmarks(soft[None])[0]
            if np.isnan(points).any():
                continue
            eyes = describe(soft, points)
            features.append(eyes.features)
            angles.append(unmirrored(rolled(truth, -eyes.roll)))
            patients += [number, number]
    return np.concatenate(features), np.concatenate(angles), np.array(patients)


def fit(features: np.ndarray, angles: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, float]:
    """Return weights (F, 2) of the strength that suits left-out patients best, and their mean error in degrees."""
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def error(strength: float) -> float:
        model = make_pipeline(StandardScaler(), Ridge(strength))
        said = cross_val_predict(model, features, angles, groups=patients, cv=GroupKFold(5))
        return float(angle_between(said, angles).mean())

    strength = min(STRENGTHS, key=error)
    scaler = StandardScaler().fit(features)
    model = Ridge(strength).fit(scaler.transform(features), angles)
    weights = (model.coef_ / scaler.scale_).T
    # The last feature is one everywhere.
    weights[-1] += model.intercept_ - scaler.mean_ @ weights
    return weights, error(strength)


if __name__ == "__main__":
    run_script(main)
