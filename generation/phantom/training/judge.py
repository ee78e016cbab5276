r"""Train the shipped disease classifiers, one a clinic, on the people of ``recogniser_data``.

They must read generated photos too, which are softer than rendered ones: so they learn from photos blurred by up to
``BLUR`` px.

    python -m generation.phantom.training.judge --clinic eye_clinic \
        --out weights/phantom-judge/eye_clinic.safetensors

``generation.phantom.measure_signs`` says how they do on unseen patients, and with the sign-carrying region masked out.
"""

from __future__ import annotations

from pathlib import Path

import click

from mema.errors import run_script

BLUR = 0.5


@click.command()
@click.option("--clinic", type=click.Choice(["eye_clinic", "dermatology"]), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The .safetensors file to write.")
@click.option("--people", default=1500, show_default=True, help="How many to learn from.")
@click.option("--shots", default=8, show_default=True, help="Photos of each, well and ill.")
@click.option("--epochs", default=14, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--workers", default=1, show_default=True, help="Processes that render.")
@click.option("--init", type=click.Path(path_type=Path), help="Earlier weights to go on from, at half the rate.")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("runs/training"), show_default=True)
def main(
    clinic: str,
    out: Path,
    people: int,
    shots: int,
    epochs: int,
    seed: int,
    workers: int,
    init: Path | None,
    cache: Path,
) -> None:
    """Render the clinic's photos once, train, write float16 weights."""
    from generation.phantom.training.recogniser_data import instrument_cases, rendered
    from mema.augment import Augmentation
    from mema.classifier import fine_tune, save
    from mema.taxonomy import load_taxonomy

    # Two photos of each well person (every third photo shows a person well): as many as of five or six diseases, since
    # most errors are between a healthy eye and a slight sign.
    cases = [
        case
        for number, case in enumerate(instrument_cases(people, shots))
        if case.clinic == clinic or number % shots in (0, 3)
    ]
    images = rendered(cases, cache / f"judge-{clinic}-{people}x{shots}.npy", workers=workers)
    codes, labels = load_taxonomy(clinic).codes, [case.disease for case in cases]
    softened = Augmentation(blur=BLUR)
    model = fine_tune(
        images,
        labels,
        codes,
        init=init,
        epochs=epochs,
        seed=seed,
        learning_rate=2e-3 if init is None else 1e-3,
        augmentation=softened,
        label=clinic,
    )
    save(model, out, half=True)
    click.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    run_script(main)
