"""Commands of the ground floor: ``mema config check`` and ``mema weights``."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def config() -> None:
    """Check a build's YAML."""


@config.command()
@click.argument("path", type=click.Path(path_type=Path))
def check(path: Path) -> None:
    """Validate every section of PATH; the first unknown or wrong key is named."""
    from mema.build import Build

    Build.load(path).check()
    click.echo(f"{path}: ok")


@click.command()
def weights() -> None:
    """List all weights: state on this machine, licence and origin."""
    from mema import weights as store

    rows = store.table()
    width = max(map(len, rows))
    for name, row in rows.items():
        click.echo(f"{name:{width}}  {store.state(name):8}  {row.licence}; {row.origin}")
