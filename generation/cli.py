"""Commands ``mema phantom …`` and ``mema generate …``: they parse, call one function and say where its result lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mema.options import CONFIG

if TYPE_CHECKING:
    from mema.build import Build


@click.group()
def phantom() -> None:
    """Render and measure the phantom hospital."""


@phantom.command()
@CONFIG
def render(config_path: Path) -> None:
    """Render patients (private) and donors (public) as ordinary photo files with CSV tables."""
    from generation.phantom.hospital import HospitalConfig, render_donors, render_patients
    from mema.errors import UserError

    build = _load(config_path)
    hospital = build.section("hospital", HospitalConfig)
    if hospital.clinic != build.clinic:
        raise UserError(f"{config_path}: hospital.clinic is {hospital.clinic}, but clinic is {build.clinic}")
    render_patients(hospital, build.hospital)
    render_donors(hospital, build.donor_photos)
    click.echo(f"patients: {build.hospital}; donors: {build.donor_photos}")


@phantom.command()
@click.option("--photos", default=500, show_default=True, help="Photos for each measure.")
@click.option("--patients", default=600, show_default=True, help="Unseen patients per clinic for the judges; 0: none.")
@click.option("--seed", default=0, show_default=True)
@click.option("--workers", default=1, show_default=True)
def measure(photos: int, patients: int, seed: int, workers: int) -> None:
    """Measure whether networks read phantoms as faces, tell them apart, and see the signs."""
    from generation.phantom import measure as faces
    from generation.phantom.measure_recognisers import measure_recogniser, unseen_photos
    from generation.phantom.measure_signs import measure_classifier
    from mema.faces.recognisers import RECOGNISERS
    from mema.taxonomy import taxonomies

    _say("dlib detector", faces.measure_detection(photos, seed, workers=workers))
    _say("dlib recogniser, healthy subjects", faces.measure_identity(max(2, photos // 5), 5, seed, workers=workers))
    _say("dlib landmarks", faces.measure_landmarks(photos, seed, workers=workers))
    _say("speed", faces.measure_speed())
    unseen = unseen_photos(max(2, photos // 5), 5)
    for name in RECOGNISERS.names():
        _say(f"{name}, patients among the subjects", measure_recogniser(name, unseen))
    for clinic in taxonomies() if patients else ():
        _say(f"judge of {clinic}", measure_classifier(clinic, patients, seed=seed, workers=workers))


@phantom.command()
@click.option("--estimator", "names", multiple=True, help="Whom to measure; default: all whose weights are here.")
@click.option("--photos", default=500, show_default=True, help="Donors, one photo each.")
@click.option("--size", default=128, show_default=True, help="Side of a photo in pixels.")
@click.option("--seed", default=0, show_default=True)
@click.option("--workers", default=1, show_default=True)
def attributes(names: tuple[str, ...], photos: int, size: int, seed: int, workers: int) -> None:
    """Measure estimators of age and gender by age, gender and skin tone."""
    from generation.phantom.measure_attributes import measure_attributes, table
    from mema.faces.attributes import ESTIMATORS, estimator

    instruments = _those_that_run(names, ESTIMATORS.names(), estimator, "estimator of age and gender")
    click.echo(table(measure_attributes(instruments, photos, size=size, seed=seed, workers=workers)))


@phantom.command()
@click.option("--estimator", "names", multiple=True, help="Whom to measure; default: all whose weights are here.")
@click.option("--photos", default=400, show_default=True, help="Patients of the eye clinic, one photo each.")
@click.option("--size", default=128, show_default=True, help="Side of a photo in pixels.")
@click.option("--seed", default=0, show_default=True)
@click.option("--workers", default=1, show_default=True)
def gaze(names: tuple[str, ...], photos: int, size: int, seed: int, workers: int) -> None:
    """Measure gaze estimators against the true lines of sight, squints among them."""
    from generation.phantom.measure_gaze import measure_gaze, table
    from mema.faces.gaze import GAZE_ESTIMATORS, gaze_estimator

    instruments = _those_that_run(names, GAZE_ESTIMATORS.names(), gaze_estimator, "gaze estimator")
    click.echo(table(measure_gaze(instruments, photos, size=size, seed=seed, workers=workers)))


@phantom.command()
@click.option("--patients", default=200, show_default=True, help="With a tumour, one photo each.")
@click.option("--weights", type=click.Path(path_type=Path, exists=True), help="A folder; the shipped weights without.")
@click.option("--seed", default=0, show_default=True)
@click.option("--workers", default=1, show_default=True)
def segmenter(patients: int, weights: Path | None, seed: int, workers: int) -> None:
    """Measure how well the segmenter outlines a tumour from one click."""
    from generation.phantom.measure_segmenter import measure_segmenter

    _say("segmenter, IoU to the truth", measure_segmenter(patients, seed=seed, folder=weights, workers=workers))


@phantom.command()
@click.option("--clinic", default="eye_clinic", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="PNG to write.")
@click.option("--patients", is_flag=True, help="Patients over their photos instead of signs by severity.")
def sheet(clinic: str, out: Path, patients: bool) -> None:
    """Write a contact sheet of every sign at every severity."""
    from generation.phantom.sheet import patient_sheet, signs_sheet

    if patients:
        patient_sheet(out, clinic=clinic)
    else:
        signs_sheet(clinic, out)
    click.echo(out)


@click.group()
def generate() -> None:
    """Patients to virtual patients: cohort, donors, fine-tune, plan, sample."""


@generate.command()
@CONFIG
def cohort(config_path: Path) -> None:
    """Check patients.csv and every photo, and write the private image sets of patients and controls."""
    from generation.cohort import build_cohort

    patients, controls = build_cohort(_load(config_path))
    click.echo(f"{patients.count} photos to train on: {patients.path}; {controls.count} of controls: {controls.path}")


@generate.command()
@CONFIG
def donors(config_path: Path) -> None:
    """Check donors.csv and write the image set of public faces."""
    from generation.donors import build_donors

    faces = build_donors(_load(config_path))
    click.echo(f"{faces.count} donors: {faces.path}")


@generate.command()
@CONFIG
def finetune(config_path: Path) -> None:
    """Fine-tune the checkpoint on the cohort, by LoRA or in full."""
    from generation.finetune import finetune as run

    click.echo(f"fine-tuned weights: {run(_load(config_path))}")


@generate.command()
@CONFIG
@click.option("--top-up", "again", is_flag=True, help="Replace the rows whose images were not kept.")
def plan(config_path: Path, again: bool) -> None:
    """Write the table of images to make, with the cohort's distribution."""
    from generation.plan import plan as run
    from generation.top_up import plan_top_up

    build = _load(config_path)
    if again:
        click.echo(f"{plan_top_up(build)} images replaced: {build.plan}")
    else:
        click.echo(f"{len(run(build))} images planned: {build.plan}")


@generate.command("top-up")
@CONFIG
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(0), help="Rounds at most; 0 reports only.")
def top_up(config_path: Path, rounds: int) -> None:
    """Replace what was rejected, sample, audit and filter again, until all that was planned is kept."""
    from generation.top_up import REPORT, run_rounds

    build = _load(config_path)
    report = run_rounds(build, rounds)
    far = ", ".join(f"{name} {'-' if v is None else f'{v:.4f}'}" for name, v in report["plan"].items())
    click.echo(f"kept {report['images']}, missing {report['missing']}; distances to the cohort: {far}")
    joint, luck = report["joint"]["plan"], report["joint"]["random"]["value"]
    click.echo(f"joint distance {joint:.4f}, by chance {luck:.4f}: {build.plan.with_name(REPORT)}")


@generate.command()
@CONFIG
def sample(config_path: Path) -> None:
    """Make the images of the plan."""
    from generation.sample import sample_plan

    made = sample_plan(_load(config_path))
    click.echo(f"{made.count} virtual patients: {made.path}")


@generate.command()
@CONFIG
def effects(config_path: Path) -> None:
    """Measure what the paper claims of generation: signs, leakage, distribution."""
    from generation.effects import effects as run
    from generation.effects import table

    build = _load(config_path)
    click.echo(table(run(build)))
    click.echo(f"\nwritten: {build.effects}")


def _load(config_path: Path) -> Build:
    from mema.build import Build

    return Build.load(config_path)


def _those_that_run(wanted: Sequence[str], known: Sequence[str], load: Callable[[str], Any], kind: str) -> list[Any]:
    """Load the instruments ``wanted``, or all ``known`` whose weights are here, saying why the others do not run."""
    from mema.errors import UserError

    instruments = []
    for name in wanted or known:
        try:
            instruments.append(load(name))
        except UserError as error:
            if wanted:
                raise
            click.echo(f"{name} does not run here: {error}", err=True)
    if not instruments:
        raise UserError(f"no {kind} runs here")
    return instruments


def _say(title: str, values: dict[str, Any]) -> None:
    flat = {name: value for name, value in values.items() if isinstance(value, float | int)}
    click.echo(f"{title}: " + ", ".join(f"{name} {value:.4g}" for name, value in flat.items()))
