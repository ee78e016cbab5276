"""Commands: ``mema benchmark methods | judge | run`` and ``mema leaderboard build``."""

from __future__ import annotations

from pathlib import Path

import click

_config = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    required=True,
    help="The build's YAML, for example configs/demo.yaml.",
)


@click.group()
def benchmark() -> None:
    """Run de-identification methods on a release."""


@benchmark.command()
def methods() -> None:
    """List the registered methods."""
    from mema.registry import resolve

    for name in resolve("baselines.registry:METHODS").names():
        click.echo(name)


@benchmark.command()
@_config
def judge(config_path: Path) -> None:
    """Prepare what all methods share: the disease classifier, the originals' vectors, the thresholds."""
    from benchmark.judge import prepare_judge
    from mema.build import Build

    click.echo(f"judge: {prepare_judge(Build.load(config_path))}")


@benchmark.command()
@_config
@click.option("--method", required=True, help="A file of methods/ beside the YAML, or a registered method.")
def run(config_path: Path, method: str) -> None:
    """De-identify the validation split with one method and score it."""
    from benchmark.run import run_method
    from mema.build import Build

    result = run_method(Build.load(config_path), method)
    for metric in result.metrics:
        interval = f"  [{metric.interval.low:.3f}, {metric.interval.high:.3f}]" if metric.interval else ""
        click.echo(f"{metric.name:36} {metric.value:.3f}{interval}")
    if result.failures:
        first = result.failures[0]
        click.echo(f"{len(result.failures)} images failed; the first, {first.image_id}: {first.reason}", err=True)


@click.group()
def leaderboard() -> None:
    """Render the leaderboard from results."""


@leaderboard.command()
@_config
def build(config_path: Path) -> None:
    """Write the page from the results of all methods of the build."""
    from benchmark.leaderboard.build import build_leaderboard
    from mema.build import Build

    click.echo(build_leaderboard(Build.load(config_path)))
