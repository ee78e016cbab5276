"""Train the shipped disease classifiers, one a clinic, on patients whom only the judge knows.

    python -m generation.phantom.training.judge --clinic eye_clinic --out weights/phantom-judge/eye_clinic.safetensors

``mema phantom measure`` reports how they do on unseen patients, and with the sign-carrying region masked out.
"""

from __future__ import annotations

from pathlib import Path

import click

SHOTS = 2


@click.command()
@click.option("--clinic", type=click.Choice(["eye_clinic", "dermatology"]), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The .safetensors file to write.")
@click.option("--patients", default=2400, show_default=True, help=f"How many to learn from, {SHOTS} photos each.")
@click.option("--epochs", default=16, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--workers", default=1, show_default=True, help="Processes that render.")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("runs/training"), show_default=True)
def main(clinic: str, out: Path, patients: int, epochs: int, seed: int, workers: int, cache: Path) -> None:
    """Render (once), train, write float16 weights."""
    from generation.phantom.training.recogniser_data import jobs_of, judge_cases, rendered
    from mema.classifier import fine_tune, save
    from mema.taxonomy import load_taxonomy

    cases = judge_cases(clinic, patients, SHOTS)
    images = rendered(jobs_of(cases), cache / f"judges-{clinic}-{patients}x{SHOTS}.npy", workers=workers)
    labels = [case.disease for case in cases for _ in case.shots]
    model = fine_tune(images, labels, load_taxonomy(clinic).codes, epochs=epochs, seed=seed, label=clinic)
    save(model, out, half=True)
    click.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
