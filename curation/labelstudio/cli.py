"""Commands of annotation: ``mema annotate serve|segmenter|preannotate|push|pull|agreement --config …``."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import click

from mema.build import Build
from mema.options import CONFIG


@click.group()
def annotate() -> None:
    """Physicians annotate in Label Studio: serve, push, pull, agreement."""


@annotate.command()
@CONFIG
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True, help="Port on this machine.")
@click.option(
    "--database",
    envvar="LABEL_STUDIO_DATABASE",
    help="postgresql://user:password@host:port/name instead of SQLite; better in LABEL_STUDIO_DATABASE.",
)
def serve(config_path: Path, port: int, database: str | None) -> None:
    """Install Label Studio once, start it on this machine, make an account per annotator. Ctrl+C stops it."""
    from curation.labelstudio.access import PASSWORDS, connect, ensure_accounts, find_access
    from curation.labelstudio.config import LabelStudioConfig
    from curation.labelstudio.server import SERVER, home, running, until_ended

    config = Build.load(config_path).section("label_studio", LabelStudioConfig)
    # Asked to end by whatever started it, it ends as with Ctrl+C and takes the server with it.
    _stop_when_asked()
    folder = home()
    with running(folder, port=port, database=database, say=click.echo) as server:
        access = find_access(folder, own=True)
        with contextlib.closing(connect(access)) as client:
            ensure_accounts(access, client, map(config.email, [*config.annotators, *config.adjudicators]), folder)
        click.echo(f"Label Studio: {access.url}")
        click.echo(f"administrator: {folder / SERVER}; annotators: {folder / PASSWORDS}")
        click.echo("Ctrl+C stops it; what was annotated stays.")
        until_ended(server)


@annotate.command()
@CONFIG
@click.option("--port", type=click.IntRange(1, 65535), default=9090, show_default=True, help="Port on this machine.")
def segmenter(config_path: Path, port: int) -> None:
    """Answer the smart tools beside a running server: a click or a box gives an outline. Ctrl+C stops it."""
    from curation.labelstudio.access import connect, find_access
    from curation.labelstudio.config import LabelStudioConfig
    from curation.labelstudio.server import home
    from curation.segmenting.attachment import SEGMENTER, credentials
    from curation.segmenting.backend import HOST, Backend
    from curation.segmenting.backend import serve as serve_
    from curation.segmenting.segmenter import load_segmenter

    config = Build.load(config_path).section("label_studio", LabelStudioConfig)
    model = load_segmenter(config.segmenter)
    access = find_access(home())
    _stop_when_asked()
    with contextlib.closing(connect(access)) as client:
        known = credentials(home(), f"http://{HOST}:{port}")
        server = serve_(Backend(model, access, client, known["user"], known["password"]), port)
        click.echo(f"{model.version}: {known['url']}, password: {home() / SEGMENTER}")
        click.echo("`mema annotate push` attaches it to projects when the build says smart: true. Ctrl+C stops it.")
        # It ends at Ctrl+C by itself.
        server.serve_forever()


@annotate.command()
@CONFIG
@click.option(
    "--clicks", type=click.Path(path_type=Path, dir_okay=False), help="CSV: image_id, x, y in pixels, inside (0 or 1)."
)
@click.option(
    "--least-score", default=0.5, show_default=True, help="IoU to expect of an outline that no click asked for."
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder; runs/<build>/proposals without.")
def preannotate(config_path: Path, clicks: Path | None, least_score: float, out: Path | None) -> None:
    """Outline the tumour in every image that `push` will show; again, it goes on where it was."""
    from curation.filter import KEPT
    from curation.labelstudio.config import LabelStudioConfig
    from curation.segmenting.proposals import propose
    from curation.segmenting.segmenter import load_segmenter
    from mema.imageset import ImageSet

    build = Build.load(config_path)
    images = ImageSet.open(build.filtered / KEPT)
    model = load_segmenter(build.section("label_studio", LabelStudioConfig).segmenter)
    folder = out or build.proposals
    count = propose(images, folder, model, clicks=clicks, least_score=least_score)
    click.echo(f"{count} of {images.count} images have an outline; `mema annotate push --masks {folder}` shows them")


@annotate.command()
@CONFIG
@click.option(
    "--masks", type=click.Path(path_type=Path, file_okay=False, exists=True), help="PNG per image id: a first proposal."
)
@click.option("--disputes", is_flag=True, help="Push what the annotators are divided on.")
@click.option("--recreate", is_flag=True, help="Push projects again that were deleted on the server.")
def push(config_path: Path, masks: Path | None, disputes: bool, recreate: bool) -> None:
    """Give every annotator a project with their images; again, it goes on where it was."""
    from curation.labelstudio.push import push as push_

    push_(Build.load(config_path), masks=masks, settle=disputes, recreate=recreate, say=click.echo)


@annotate.command()
@CONFIG
def pull(config_path: Path) -> None:
    """Fetch the answers, everyone's apart, into a folder that DVC versions and no stage writes."""
    from curation.annotate import AnnotateConfig
    from curation.labelstudio.pull import pull as pull_
    from curation.publish import track
    from mema.errors import UserError

    build = Build.load(config_path)
    pulled = pull_(build, say=click.echo)
    for (number, annotator), (answered, asked) in pulled.progress.items():
        click.echo(f"round {number}, {annotator}: {answered} of {asked} answered")
    try:
        track(build.answers)
    except UserError as error:
        # The answers are there and whole: what is missing is their version.
        click.echo(f"not versioned: {error}", err=True)
    click.echo(f"answers: {build.answers}")
    if build.section("annotate", AnnotateConfig).by != "physicians":
        click.echo(f"{config_path} releases the oracle's reading; these answers with annotate: {{by: physicians}}")
    if pulled.missing:
        raise UserError("; ".join(pulled.missing))


@annotate.command()
@CONFIG
def agreement(config_path: Path) -> None:
    """Say how far the annotators agree, with each other and with themselves; list the disputes."""
    from curation.agreement import TABLES, run_agreement

    build = Build.load(config_path)
    report = run_agreement(build)
    click.echo((build.answers / TABLES).read_text(encoding="utf-8"), nl=False)
    click.echo(f"\n{report['disputed']} disputed; written: {build.answers}")


def _stop_when_asked() -> None:
    """Leave by KeyboardInterrupt at SIGTERM, and at SIGINT also where a shell started us in its background."""
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, signal.default_int_handler)
