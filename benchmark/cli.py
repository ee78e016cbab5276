"""Commands: ``mema benchmark methods | judge | run`` and ``mema leaderboard build | submit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mema.options import CONFIG

if TYPE_CHECKING:
    from mema.result import Result


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
@CONFIG
def judge(config_path: Path) -> None:
    """Prepare what all methods share: the disease classifier, the originals' vectors, the thresholds."""
    from benchmark.judge import prepare_judge
    from mema.build import Build

    click.echo(f"judge: {prepare_judge(Build.load(config_path))}")


@benchmark.command()
@CONFIG
@click.option(
    "--method",
    help="A file of methods/ beside the YAML, or a registered method; without it, all that the YAML lists.",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="Score the files <image_id>.png of this folder, made by another tool, under the name of --method.",
)
def run(config_path: Path, method: str | None, images: Path | None) -> None:
    """De-identify the validation split and score what comes out."""
    from benchmark.config import BenchmarkConfig
    from benchmark.run import run_method, score_folder
    from mema.build import Build

    if images and not method:
        raise click.UsageError("--images needs --method: the name to score them under")
    plan = Build.load(config_path)
    names = [method] if method else plan.section("benchmark", BenchmarkConfig).methods
    for name in names:
        _report(score_folder(plan, name, images) if images else run_method(plan, name))


def _report(result: Result) -> None:
    click.echo(result.method.name)
    for metric in result.metrics:
        interval = f"  [{metric.interval.low:.3f}, {metric.interval.high:.3f}]" if metric.interval else ""
        click.echo(f"  {metric.name:38} {metric.value:.3f}{interval}")
    if result.failures:
        first = result.failures[0]
        click.echo(f"  {len(result.failures)} images failed; the first, {first.image_id}: {first.reason}", err=True)


@click.group()
def leaderboard() -> None:
    """Render the leaderboard from results."""


@leaderboard.command()
@CONFIG
def build(config_path: Path) -> None:
    """Write the page from the results of the build and those handed in for its release."""
    from benchmark.leaderboard.build import build_leaderboard
    from mema.build import Build

    click.echo(build_leaderboard(Build.load(config_path)))


@leaderboard.command()
@click.argument("result", type=click.Path(path_type=Path))
def submit(result: Path) -> None:
    """Check a result.json and keep it in leaderboard/, from where it goes on the page."""
    from benchmark.leaderboard import submissions

    click.echo(submissions.submit(result))
