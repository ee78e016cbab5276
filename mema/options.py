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
DEMO_CONFIG = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("configs/demo.yaml"),
    show_default=True,
    help="The build's YAML; what is measured must be there.",
)
