r"""Train the shipped disease classifiers, one a clinic, on the people of ``recogniser_data``.

    python -m generation.phantom.training.judge --clinic eye_clinic \
        --out weights/phantom-judge/eye_clinic.safetensors

``generation.phantom.measure_signs`` says how they do on unseen patients, and with the sign-carrying region masked out.
"""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--clinic", type=click.Choice(["eye_clinic", "dermatology"]), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The .safetensors file to write.")
@click.option("--people", default=1200, show_default=True, help="How many to learn from.")
@click.option("--shots", default=8, show_default=True, help="Photos of each, well and ill.")
@click.option("--epochs", default=14, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--workers", default=1, show_default=True, help="Processes that render.")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("runs/training"), show_default=True)
def main(clinic: str, out: Path, people: int, shots: int, epochs: int, seed: int, workers: int, cache: Path) -> None:
    """Render (once for all instruments), train, write float16 weights."""
    from generation.phantom.training.recogniser_data import instrument_photos
    from mema.classifier import fine_tune, save
    from mema.taxonomy import load_taxonomy

    photos = instrument_photos(people, shots, cache, workers=workers)
    # One photo of each well person: as many as of two or three diseases.
    rows = [i for i, case in enumerate(photos.cases) if case.clinic == clinic or i % shots == 0]
    labels = [photos.cases[row].disease for row in rows]
    codes = load_taxonomy(clinic).codes
    model = fine_tune(photos.images[rows], labels, codes, epochs=epochs, seed=seed, label=clinic)
    save(model, out, half=True)
    click.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
