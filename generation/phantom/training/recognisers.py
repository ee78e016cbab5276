r"""Train the shipped recognisers on phantoms.

    python -m generation.phantom.training.recognisers --loss arcface \
        --out weights/phantom-recognisers/arcface.safetensors

The losses see the same photos in another order, from other initial weights, so that the recognisers are independent
judges of the same face.
"""

from __future__ import annotations

from pathlib import Path

import click

from mema.errors import run_script

SEEDS = {"arcface": 1, "cosface": 2, "sphereface": 3}


@click.command()
@click.option("--loss", type=click.Choice(sorted(SEEDS)), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The .safetensors file to write.")
@click.option("--people", default=1200, show_default=True, help="How many people to learn from.")
@click.option("--shots", default=8, show_default=True, help="Photos of each.")
@click.option("--epochs", default=10, show_default=True)
@click.option("--workers", default=1, show_default=True, help="Processes that render.")
@click.option("--cache", type=click.Path(path_type=Path), default=Path("runs/training"), show_default=True)
def main(loss: str, out: Path, people: int, shots: int, epochs: int, workers: int, cache: Path) -> None:
    """Render (once for all losses), train, write float16 weights."""
    from generation.phantom.training.recogniser_data import instrument_photos
    from mema.faces.phantom_recogniser import save_network
    from mema.faces.training import train_recogniser

    photos = instrument_photos(people, shots, cache, workers=workers)
    network = train_recogniser(photos.images, photos.people, loss, epochs=epochs, seed=SEEDS[loss])
    save_network(network, out, {"loss": loss, "people": str(people), "shots": str(shots), "epochs": str(epochs)})
    click.echo(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    run_script(main)
