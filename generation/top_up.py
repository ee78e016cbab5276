"""Top-up: replace what was rejected, so that what is kept in the end has the cohort's distribution (DESIGN §4).

``mema generate plan --top-up --config configs/demo.yaml`` writes the plan that replaces the rejected rows; after
``sample``, ``mema curate audit`` and ``filter`` it can be said again. ``mema generate top-up --rounds 5`` closes that
loop and writes ``kept.report.json`` beside the plan: the distances of what is kept in the end.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from generation.plan import REPORT as PLAN_REPORT
from generation.plan import (
    PlanConfig,
    PlanRow,
    draw_injections,
    read_donors,
    read_plan,
    report,
    targets_of,
    write_plan,
)
from mema.build import Build
from mema.errors import UserError
from mema.files import read_json, write_json
from mema.imageset import ImageSet
from mema.records import FaceRecord

REPORT = "kept.report.json"
LOOP = (("generate", "sample"), ("curate", "audit"), ("curate", "filter"))


def top_up(
    rows: Sequence[PlanRow], kept: Collection[str], donors: Sequence[FaceRecord], config: PlanConfig
) -> list[PlanRow]:
    """Return the plan, every row whose image is not in ``kept`` (image ids) replaced, so that its distribution stays.

    A replacement has the target, severity and prompt of the rejected row, and a new name, donor, weight and seed; names
    go on after the highest number in use. The same rejections give the same plan.
    """
    rejected = [row for row in rows if row.image_id not in kept]
    first = 1 + max(row.row_id for row in rows)
    random = np.random.default_rng([config.seed, first])
    uses = Counter(row.donor_id for row in rows if row.image_id in kept and row.donor_id is not None)
    chosen, weights = draw_injections(targets_of(rejected), donors, config, random, uses)
    replacements = {
        row.row_id: row.model_copy(
            update={
                "row_id": number,
                "image_id": f"image-{number:05d}",
                "subject_id": f"virtual-{number:05d}",
                "donor_id": None if donor is None else donor.image_id,
                "donor_weight": weight,
                "seed": int(random.integers(2**31)),
            }
        )
        for number, (row, donor, weight) in enumerate(zip(rejected, chosen, weights, strict=True), start=first)
    }
    return [replacements.get(row.row_id, row) for row in rows]


def plan_top_up(build: Build) -> int:
    """Replace in ``Build.plan`` the rows whose images were not kept; return how many those are.

    UserError unless the filter has judged the images of the plan that is there.
    """
    rows = read_plan(build.plan)
    kept = kept_images(build, rows)
    missing = len(rows) - len(kept)
    if missing:
        config = build.section("plan", PlanConfig)
        donors = read_donors(build, config)
        rows = top_up(rows, kept, donors, config)
        write_plan(rows, build.plan)
        write_json(build.plan.with_name(PLAN_REPORT), report(rows, ImageSet.open(build.cohort).records(), donors))
    return missing


def run_rounds(build: Build, rounds: int) -> dict[str, Any]:
    """Top up, sample, audit and filter until nothing is missing, ``rounds`` times at most; write and return the report.

    The stages meet through files, so each is run as the command that a user would type.
    """
    from mema.cli import cli

    for _ in range(rounds):
        if not plan_top_up(build):
            break
        for stage in LOOP:
            cli.main([*stage, "--config", str(build.config_path)], standalone_mode=False)
    return report_kept(build)


def report_kept(build: Build) -> dict[str, Any]:
    """Write and return the report of the images kept so far: as of a plan, and how many are ``missing`` from it."""
    rows = read_plan(build.plan)
    kept = kept_images(build, rows)
    if not kept:
        raise UserError(f"{build.filtered}: nothing was kept")
    donors = read_donors(build, build.section("plan", PlanConfig))
    cohort = ImageSet.open(build.cohort).records()
    made = report([row for row in rows if row.image_id in kept], cohort, donors)
    made["missing"] = len(rows) - len(kept)
    write_json(build.plan.with_name(REPORT), made)
    return made


def kept_images(build: Build, rows: Sequence[PlanRow]) -> set[str]:
    """Return the ids of the images of ``rows`` that the filter kept and that annotators, if any, did not decline.

    UserError unless the filter has judged exactly these images, since the same names may stand for other ones.
    """
    kept, rejected = (ImageSet.open(build.filtered / part) for part in ("kept", "rejected"))
    judged = {record.image_id: record for part in (rejected, kept) for record in part.records()}
    for row in rows:
        record = judged.get(row.image_id)
        if record is None or (record.provenance.seed, record.provenance.prompt) != (row.seed, row.prompt):
            raise UserError(
                f"{build.filtered}: not of the plan that is there; run 'mema generate sample', 'mema curate audit'"
                " and 'mema curate filter' first"
            )
    return {record.image_id for record in kept.records()} - declined_images(build, kept.config.get("candidates"))


def declined_images(build: Build, candidates: str | None) -> set[str]:
    """Return the images that more than half of the annotators of their last round declined.

    Empty without annotations of the image set whose digest is ``candidates``: those of another set name other images.
    UserError when the table lacks a column.
    """
    table, source = (build.annotations / name for name in ("annotations.csv", "source.json"))
    if not (table.is_file() and source.is_file()) or read_json(source).get("candidates") != candidates:
        return set()
    with table.open(encoding="utf-8", newline="") as file:
        try:
            votes = [(row["image_id"], int(row["round"]), row["accept"] == "0") for row in csv.DictReader(file)]
        except KeyError as missing:
            raise UserError(f"{table}: no column {missing}") from None
        except (TypeError, ValueError):
            raise UserError(f"{table}: round: not a whole number") from None
    # A later round was held to settle the ones before.
    last: dict[str, int] = {}
    for image, number, _ in votes:
        last[image] = max(number, last.get(image, 0))
    final = [(image, declined) for image, number, declined in votes if number == last[image]]
    asked, against = Counter(image for image, _ in final), Counter(image for image, declined in final if declined)
    return {image for image, count in against.items() if 2 * count > asked[image]}
