"""Commands: ``mema medsem encoder | train | measure``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from baselines.medsem_deid.settings import MedSemParameters

CONFIG = click.option(
    "--config", "config_path", type=click.Path(path_type=Path), required=True, help="A YAML of configs/methods."
)
RELEASE = click.option(
    "--release", type=click.Path(path_type=Path), help="A release, for its training split, or an image set."
)
DONORS = click.option("--donors", type=click.Path(path_type=Path), help="An image set of donors.")
OUT = click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write.")


@click.group()
def medsem() -> None:
    """Train MedSem-DeID and its encoder of medical semantics, and measure what it does."""


@medsem.command()
@CONFIG
@RELEASE
@DONORS
@OUT
@click.option("--init", type=click.Path(path_type=Path), help="A LoRA, or a ViT's folder, to start from.")
def encoder(config_path: Path, release: Path | None, donors: Path | None, out: Path, init: Path | None) -> None:
    """Train Enc_med on a release's training split."""
    from baselines.medsem_deid.encoder_training import train_encoder

    click.echo(f"encoder: {train_encoder(_parameters(config_path), out, release=release, donors=donors, init=init)}")


@medsem.command()
@CONFIG
@RELEASE
@DONORS
@OUT
def train(config_path: Path, release: Path | None, donors: Path | None, out: Path) -> None:
    """Train the de-identifier; an interrupted training goes on."""
    from baselines.medsem_deid.training import train as train_networks

    click.echo(f"networks: {train_networks(_parameters(config_path), out, release=release, donors=donors)}")


@medsem.command()
@CONFIG
@click.option(
    "--images", type=click.Path(path_type=Path), required=True, help="An image set of several photos a person."
)
@click.option("--weights", help="Other trained weights than the YAML's.")
@click.option("--judge", help="Weights of a disease classifier, for its top-1.")
@click.option("--recogniser", "recognisers", multiple=True, help="May be repeated; none of them is to be phi.")
@click.option("--sheet", type=click.Path(path_type=Path), help="A PNG to write: photos over what becomes of them.")
def measure(
    config_path: Path,
    images: Path,
    weights: str | None,
    judge: str | None,
    recognisers: tuple[str, ...],
    sheet: Path | None,
) -> None:
    """Print who is recognised before, after, and opened by right, wrong and near passwords."""
    from baselines.medsem_deid.measure import measure as measure_method

    parameters = _parameters(config_path)
    if weights is not None:
        parameters = parameters.model_copy(update={"weights": weights})
    for line in measure_method(parameters, images, recognisers=recognisers, judge=judge, sheet=sheet):
        click.echo(line)


def _parameters(path: Path) -> MedSemParameters:
    from baselines.medsem_deid.settings import MedSemParameters
    from baselines.registry import load_method_config
    from mema.config import validate

    return validate(MedSemParameters, load_method_config(path).parameters, str(path))
