"""Command-line options that every room shares."""

from __future__ import annotations

from pathlib import Path

import click

CONFIG = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    required=True,
    help="The build's YAML, for example configs/demo.yaml.",
)
