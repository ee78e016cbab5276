"""Commands ``mema reproduce table1 | table2 | fig4``: print what the paper has beside what is measured here."""

from __future__ import annotations

from pathlib import Path

import click

from mema.options import DEMO_CONFIG as CONFIG

SAMPLES = click.option("--samples", type=click.IntRange(1), help="Images an arm; default: effects.samples of the YAML.")


@click.command()
@CONFIG
@SAMPLES
def table1(config_path: Path, samples: int | None) -> None:
    """Leakage of identity: direct sampling, donors at fixed weights, donors at U[0.2, 0.4]."""
    from generation.reproduce.table1 import table1 as run
    from generation.reproduce.table1 import text
    from mema.build import Build

    build = Build.load(config_path)
    click.echo(text(run(build, samples)))
    click.echo(f"\nwritten: {build.reproduce / 'table1.json'}")


@click.command()
@CONFIG
@click.option("--samples", type=click.IntRange(1), help="Images planned; default: plan.count of the YAML.")
def table2(config_path: Path, samples: int | None) -> None:
    """Distance to the patients' distribution: random and guided sampling."""
    from generation.reproduce.table2 import table2 as run
    from generation.reproduce.table2 import text
    from mema.build import Build

    build = Build.load(config_path)
    click.echo(text(run(build, samples)))
    click.echo(f"\nwritten: {build.reproduce / 'table2.json'}")


@click.command()
@CONFIG
@SAMPLES
def fig4(config_path: Path, samples: int | None) -> None:
    """Signs and diversity: before and after fine-tuning, with severity in the prompt, with donors."""
    from generation.reproduce.fig4 import SHEET, text
    from generation.reproduce.fig4 import fig4 as run
    from generation.reproduce.settings import private_output
    from mema.build import Build

    build = Build.load(config_path)
    click.echo(text(run(build, samples)))
    click.echo(f"\nwritten: {build.reproduce / 'fig4.json'}, {private_output(build, SHEET)}")
