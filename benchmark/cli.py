"""Commands: ``mema benchmark methods | judge | export | validate | run`` and ``mema leaderboard build | submit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mema.errors import UserError
from mema.options import CONFIG

if TYPE_CHECKING:
    from mema.result import Result

SHOWN_FAULTS = 50


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
@click.argument("folder", type=click.Path(path_type=Path))
def export(config_path: Path, folder: Path) -> None:
    """Write all images that a method is given to FOLDER, as <image_id>.png, for tools that take files."""
    from benchmark.inputs import export_inputs
    from mema.build import Build

    click.echo(f"{export_inputs(Build.load(config_path), folder)} images in {folder}")


@benchmark.command()
@CONFIG
@click.option("--method", "methods", multiple=True, required=True, help="A method that has run; once for each.")
@click.argument("folder", type=click.Path(path_type=Path))
def readers(config_path: Path, methods: tuple[str, ...], folder: Path) -> None:
    """Write to FOLDER what physicians read blindly: originals, the same again, and what each --method made of them."""
    from benchmark.reader_study import write_study
    from mema.build import Build

    study = write_study(Build.load(config_path), methods, folder)
    click.echo(f"{len(study.key.images)} images to read: mema annotate push --config {study.build.config_path}")


METHOD = click.option(
    "--method",
    help="A file of methods/ beside the YAML, a registered method, module:Class, or the path of a method's YAML.",
)


@benchmark.command()
@CONFIG
@METHOD
@click.option(
    "--images", type=click.Path(path_type=Path), help="A folder of images <image_id>.png that some tool made."
)
@click.option(
    "--result", "file", type=click.Path(path_type=Path), help="A result.json, or the folder it lies in with its bundle."
)
def validate(config_path: Path, method: str | None, images: Path | None, file: Path | None) -> None:
    """Say in seconds, without a GPU, what is wrong with a method, a folder of images or a result."""
    from benchmark.validation import check_images, check_method, check_result
    from mema.build import Build

    if sum(given is not None for given in (method, images, file)) != 1:
        raise click.UsageError("one of --method, --images and --result is needed")
    build = Build.load(config_path)
    if method is not None:
        report = check_method(build, method)
    elif images is not None:
        report = check_images(build, images)
    else:
        assert file is not None
        report = check_result(build, file)
    for fault in report.faults[:SHOWN_FAULTS]:
        click.echo(f"mema: {fault}", err=True)
    if len(report.faults) > SHOWN_FAULTS:
        click.echo(f"mema: and {len(report.faults) - SHOWN_FAULTS} more", err=True)
    if report.faults:
        raise SystemExit(2)
    click.echo(f"ok: {report.subject}")


@benchmark.command()
@CONFIG
@METHOD
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="Score the files <image_id>.png of this folder, made by another tool, under the name of --method.",
)
def run(config_path: Path, method: str | None, images: Path | None) -> None:
    """De-identify the validation split and score what comes out; without --method, by all that the YAML lists."""
    from benchmark.config import BenchmarkConfig
    from benchmark.run import run_method, score_folder
    from mema.build import Build

    if images and not method:
        raise click.UsageError("--images needs --method: the name to score them under")
    build = Build.load(config_path)
    if method:
        _report(score_folder(build, method, images) if images else run_method(build, method))
        return
    stopped = []
    for name in build.section("benchmark", BenchmarkConfig).methods:
        try:
            _report(run_method(build, name))
        except UserError as error:  # one method that cannot run costs no other
            click.echo(f"mema: {error}", err=True)
            stopped.append(name)
    if stopped:
        raise UserError(f"{len(stopped)} methods have no result: {', '.join(stopped)}")


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
    """Keep results and render the leaderboard from them."""


SHELF = click.option(
    "--shelf",
    type=click.Path(path_type=Path),
    default=Path("leaderboard"),
    show_default=True,
    help="Where results that were handed in are kept.",
)
OPTIONAL_CONFIG = click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="The YAML of the build that holds the release."
)


@leaderboard.command()
@OPTIONAL_CONFIG
@SHELF
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("runs/leaderboard"),
    show_default=True,
    help="Without --config: where a folder for each release goes.",
)
def build(config_path: Path | None, shelf: Path, output: Path) -> None:
    """Write the pages of a build's results, with those handed in for its release; without --config, of the shelf."""
    from benchmark.leaderboard.build import build_from_shelf, build_leaderboard
    from mema.build import Build

    written = [build_leaderboard(Build.load(config_path), shelf)] if config_path else build_from_shelf(output, shelf)
    for path in written:
        click.echo(path)


@leaderboard.command()
@click.argument("result", type=click.Path(path_type=Path))
@OPTIONAL_CONFIG
@SHELF
def submit(result: Path, config_path: Path | None, shelf: Path) -> None:
    """Check RESULT, a result.json or its folder, and keep it with its per-image bundle; say where it ranks.

    The first result for a release needs --config: what the others are checked by is taken from that build.
    """
    from benchmark.board import Board
    from benchmark.leaderboard import submissions
    from benchmark.results import read_result
    from mema.build import Build

    read = read_result(result)
    board = submissions.board_for(read.release, Board.of(Build.load(config_path)) if config_path else None, shelf)
    click.echo(submissions.submit(read, board, shelf))
    place = next(one for one in submissions.ranking(board, shelf) if one.method == read.method.name)
    click.echo(f"rank {place.rank} ({place.rank_low}-{place.rank_high}), tie group {place.group}")
