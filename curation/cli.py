"""Commands of curation: ``mema curate audit|planted|filter|annotate --config configs/demo.yaml``."""

from __future__ import annotations

from pathlib import Path

import click

from mema.build import Build
from mema.options import CONFIG


@click.group()
def curate() -> None:
    """Candidates to annotated images: audit, filter, annotate."""


@curate.command()
@CONFIG
def audit(config_path: Path) -> None:
    """Compare every candidate with every patient and donor."""
    from curation.audit import run_audit
    from curation.card import percent, rate_text

    build = Build.load(config_path)
    report = run_audit(build)
    for name in report.points:
        point = report.decision(name)
        risk = rate_text(point.patients.risk)
        limit = report.planted.limit[name]
        found = "no blend" if limit is None else f"blends from {limit:g}"
        click.echo(f"{name}: {percent(point.patients.raw.value)} near a patient, risk {risk}; finds {found}")
    click.echo(f"audit: {build.audit}")


@curate.command()
@CONFIG
def planted(config_path: Path) -> None:
    """Plant leaks and say which the audit finds: recall by strength, and the detection limit."""
    from curation.audit import PLANTED, run_planted
    from curation.card import rate_text

    build = Build.load(config_path)
    report = run_planted(build, [tenth / 10 for tenth in range(9, 0, -1)])
    for one in report.strengths:
        click.echo(f"{one.planted}, {report.members} planted; found:")
        for name, recall in one.recall.items():
            click.echo(f"  {name:20} {rate_text(recall)}")
    for name, limit in report.limit.items():
        found = "finds no blend" if limit is None else f"finds blends from {limit:g}"
        click.echo(f"{name}: {found} of a patient's photo, with a recall of {report.required:.0%} or more")
    click.echo(f"written: {build.runs / 'reproduce' / PLANTED}")


@curate.command("filter")
@CONFIG
def filter_(config_path: Path) -> None:
    """Leave out what is too near to a patient, shows no face, or repeats."""
    from curation.filter import run_filter

    build = Build.load(config_path)
    report = run_filter(build)
    for reason, count in report["rejected"].items():
        click.echo(f"{reason}: {count}")
    click.echo(f"kept {report['kept']} of {report['candidates']}: {build.filtered}")


@curate.command()
@CONFIG
def annotate(config_path: Path) -> None:
    """Take the physicians' answers, or let the oracle annotate what was kept, as annotate.by says."""
    from curation.annotate import AnnotateConfig, run_annotate, take_answers

    build = Build.load(config_path)
    if build.section("annotate", AnnotateConfig).by == "physicians":
        for annotator, count in take_answers(build).items():
            click.echo(f"{annotator}: {count} images")
        click.echo(f"taken from {build.answers}: {build.annotations}")
        return
    reading = run_annotate(build)
    for prompted, read in reading["read_by_prompted"].items():
        click.echo(f"{prompted} read as " + ", ".join(f"{code} {count}" for code, count in read.items()))
    share = reading["as_prompted"]["value"]
    accepted = f"accepted {reading['accepted']} of {reading['images']}"
    click.echo(f"{accepted}, {share:.0%} read as prompted: {build.annotations}")
