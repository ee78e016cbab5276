"""Commands of releases: ``mema release build|publish|diff|verify|retract``."""

from __future__ import annotations

from pathlib import Path

import click

from mema.build import Build
from mema.errors import UserError
from mema.options import CONFIG

FOLDER = click.Path(path_type=Path)


@click.group()
def release() -> None:
    """Versions of a dataset: build, publish, diff, verify, retract."""


@release.command("build")
@CONFIG
@click.option("--previous", type=FOLDER, help="The release that this one continues; its images keep their splits.")
def build_(config_path: Path, previous: Path | None) -> None:
    """Cut the accepted images into splits, with documents and checksums."""
    from curation.release import build_release

    build = Build.load(config_path)
    made = build_release(build, previous=previous)
    counts = ", ".join(f"{split} {count}" for split, count in made.counts.items())
    masks = f", {sum(made.masks.values())} with a mask" if made.masks else ""
    click.echo(f"{made.name} {made.version} ({counts}{masks}): {build.release}")


@release.command()
@CONFIG
@click.option("--replace", is_flag=True, help="Let a phantom release replace another of its version.")
def publish(config_path: Path, replace: bool) -> None:
    """Copy the release to data/<name>/<version> and track it with DVC."""
    from curation.publish import publish as copy

    click.echo(str(copy(Build.load(config_path), replace=replace)))


@release.command()
@click.argument("before", type=FOLDER)
@click.argument("after", type=FOLDER)
def diff(before: Path, after: Path) -> None:
    """Say what changed from the release BEFORE to the release AFTER."""
    from curation.comparison import compare_releases, count_table
    from mema.release import Release

    old, new = Release.open(before), Release.open(after)
    difference = compare_releases(old, new)
    for image_id in difference.added:
        click.echo(f"added {image_id}")
    for image_id in difference.removed:
        click.echo(f"removed {image_id}")
    for one in difference.relabelled:
        click.echo(f"label {one.image_id} {one.field}: {one.before} → {one.after}")
    for one in difference.moved:
        click.echo(f"MOVED {one.image_id}: {one.before} → {one.after}")
    click.echo(f"\n{old.name} {old.version} → {new.name} {new.version}\n\n{count_table(difference)}")
    relabelled = len({one.image_id for one in difference.relabelled})
    click.echo(
        f"added {len(difference.added)}, removed {len(difference.removed)}, relabelled {relabelled},"
        f" moved {len(difference.moved)}"
    )
    if difference.moved:
        raise UserError(f"{len(difference.moved)} images moved between splits, which no version may do")


@release.command()
@click.argument("folder", type=FOLDER)
@click.option("--previous", type=FOLDER, help="The version before, if it does not lie beside FOLDER.")
def verify(folder: Path, previous: Path | None) -> None:
    """Derive checksums, counts and splits of the release in FOLDER again; a line per fault."""
    from curation.verification import verify_release

    faults = verify_release(folder, previous)
    for fault in faults:
        click.echo(fault)
    if faults:
        raise UserError(f"{folder}: {len(faults)} fault{'s' if len(faults) > 1 else ''}")
    click.echo(f"{folder}: as released")


@release.command()
@CONFIG
@click.option("--from", "folder", type=FOLDER, help="The published release; by default the newest of the build.")
@click.option("--image", "images", multiple=True, help="An image id; may be repeated.")
@click.option("--donor", "donors", multiple=True, help="A donor id: all images with its attributes; may be repeated.")
@click.option("--patients", type=FOLDER, help="A private file, one subject of the cohort per line.")
def retract(
    config_path: Path, folder: Path | None, images: tuple[str, ...], donors: tuple[str, ...], patients: Path | None
) -> None:
    """Take images out of a published release, which makes its next version."""
    from curation.making import read_tombstones
    from curation.publish import track
    from curation.retraction import newest, summary
    from curation.retraction import retract as take_out

    if not (images or donors or patients):
        raise UserError("say what to take out: --image, --donor or --patients")
    build = Build.load(config_path)
    made = take_out(build, folder or newest(build), images=images, donors=donors, patients=patients)
    for reason, count in sorted(summary(read_tombstones(made.folder), made.version).items()):
        click.echo(f"{reason}: {count} images")
    click.echo(f"{made.name} {made.version}: {made.folder}")
    if made.folder.resolve().is_relative_to(build.data.resolve()):
        track(build.data)
