"""Top-up: what is kept in the end has the cohort's distribution, and only new rows are sampled."""

from __future__ import annotations

import shutil
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner

from generation.finetune import FinetuneConfig
from generation.plan import PlanConfig, make_plan, plan, read_plan, report, targets_of, write_plan
from generation.quotas import distances, joint_distance
from generation.sample import SampleConfig, embed_donors, sample_plan, sample_rows
from generation.top_up import declined_images, kept_images, plan_top_up, top_up
from mema.build import Build
from mema.cli import cli
from mema.diffusion.checkpoint import Generator, load_pipeline
from mema.errors import UserError
from mema.files import read_json, write_json
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord
from mema.taxonomy import load_taxonomy

EYES = load_taxonomy("eye_clinic")
LIMIT = 0.003
CONFIG = PlanConfig(count=330, donor_uses_max=4)


def cohort() -> list[FaceRecord]:
    """Like the demo's: 66 patients with four photos each, ages and genders that depend on the disease."""
    random = np.random.default_rng(7)
    records = []
    for n in range(66):
        place = int(random.integers(8))
        patient = FaceRecord(
            image_id="x",
            subject_id=f"p{n}",
            disease=EYES.codes[place],
            age=int(np.clip(random.normal(25 + 6 * place, 14), 5, 90)),
            gender="female" if random.random() < 0.3 + 0.05 * place else "male",
            skin_tone=int(random.integers(1, 11)),
        )
        records += [patient.model_copy(update={"image_id": f"p{n}-{photo}"}) for photo in range(4)]
    return records


def donors() -> list[FaceRecord]:
    random = np.random.default_rng(5)
    return [
        FaceRecord(
            image_id=f"donor-{n:05d}",
            subject_id=f"donor-{n:05d}",
            age=int(random.integers(5, 91)),
            gender=("female", "male")[n % 2],
            skin_tone=int(random.integers(1, 11)),
        )
        for n in range(300)
    ]


def reject(rows, share=0.3):
    """Reject unevenly: most of one disease and of the old go, few of the others."""
    random = np.random.default_rng(len({row.image_id for row in rows if row.row_id >= 330}))
    odds = np.array([9.0 if row.disease == "bcc" else 5.0 if row.age > 60 else 1.0 for row in rows])
    gone = random.choice(len(rows), size=round(share * len(rows)), replace=False, p=odds / odds.sum())
    return {row.image_id for n, row in enumerate(rows) if n not in set(gone.tolist())}


def test_after_uneven_rejections_the_kept_set_is_as_near_to_the_cohort_as_the_plan():
    patients = cohort()
    rows = make_plan(patients, donors(), EYES, CONFIG)
    first = {row.image_id for row in rows}
    kept = reject(rows)
    left = [row for row in rows if row.image_id in kept]
    assert len(left) == 231
    spoilt = distances(targets_of(left), patients)
    assert spoilt.disease > 0.05 and spoilt.age > 0.01 and joint_distance(targets_of(left), patients) > 0.1

    rounds = 0
    while len(kept) < len(rows):
        rows = top_up(rows, kept, donors(), CONFIG)
        # Of the new images, unevenly too, some are rejected again.
        new = [row for row in rows if row.image_id not in kept]
        kept |= reject(new, 0.3 if rounds < 2 else 0)
        rounds += 1
    assert rounds == 3 and len(rows) == 330 == len(kept) == len({row.image_id for row in rows})
    assert len(first - kept) == 99
    final = distances(targets_of([row for row in rows if row.image_id in kept]), patients)
    assert max(final) <= LIMIT and joint_distance(targets_of(rows), patients) <= LIMIT
    assert max(Counter(row.donor_id for row in rows).values()) <= CONFIG.donor_uses_max
    assert report(rows, patients, donors())["plan"] == final._asdict()


def test_a_top_up_replaces_the_rejected_alone():
    rows = make_plan(cohort(), donors(), EYES, CONFIG)
    kept = {row.image_id for row in rows if row.row_id % 5}
    topped = top_up(rows, kept, donors(), CONFIG)
    assert [row for row in topped if row.image_id in kept] == [row for row in rows if row.image_id in kept]
    assert len({row.image_id for row in topped}) == 330 and sum(row.row_id >= 330 for row in topped) == 66
    assert Counter(targets_of(topped)) == Counter(targets_of(rows))
    assert all(a.prompt == b.prompt and (a == b or a.seed != b.seed) for a, b in zip(topped, rows, strict=True))
    assert topped == top_up(rows, kept, donors(), CONFIG)
    assert top_up(rows, {row.image_id for row in rows}, donors(), CONFIG) == rows


@pytest.fixture
def sampled(tiny_build, tmp_path):
    """A build of its own places, with the weights and people of the tiny build, whose candidates are there."""
    shutil.copytree(
        tiny_build.config_path.parent, tmp_path / "build", ignore=lambda *_: ["candidates", "plan", "reproduce"]
    )
    text = tiny_build.config_path.read_text().replace(str(tiny_build.config_path.parent), str(tmp_path / "build"))
    (tmp_path / "build" / "build.yaml").write_text(
        text + "audit: {recognisers: [phantom-arcface], far: [0.05], decision_far: 0.05, pairs: all,"
        " planted_members: 2, planted_alphas: [0.5]}\n"
        "filter: {near_patient: 'off', face: false, duplicate_rms: 36.9}\n"
    )
    build = Build.load(tmp_path / "build" / "build.yaml")
    plan(build)
    sample_plan(build)
    return build


def split(build, is_kept) -> None:
    """Write what the filter would: kept and rejected candidates."""
    source = ImageSet.open(build.candidates)
    for part, wanted in (("kept", True), ("rejected", False)):
        faces = [face for n, face in enumerate(source.faces()) if bool(is_kept(n)) == wanted]
        config = {"candidates": source.digest, "part": part}
        write_imageset(
            build.filtered / part, len(faces), lambda start, stop, faces=faces: faces[start:stop], config=config
        )


def pixels(build) -> dict[str, np.ndarray]:
    return {face.record.image_id: face.image for face in ImageSet.open(build.candidates).faces()}


def invert(build) -> None:
    """Replace the candidates' pictures by their negatives; all else is as sampling left it."""
    source = ImageSet.open(build.candidates)
    faces = [Face(face.record, 255 - face.image) for face in source.faces()]
    for shard in source.shards:
        (source.path / shard["name"]).unlink()
    (source.path / "_complete.json").unlink()
    write_imageset(source.path, len(faces), lambda start, stop: faces[start:stop], config=source.config, shard_size=8)


def test_sampling_a_topped_up_plan_copies_what_was_kept(sampled):
    before = pixels(sampled)
    # Sampled again, a kept picture would be a positive: negatives can only have been copied.
    invert(sampled)
    split(sampled, lambda n: n % 4)
    assert plan_top_up(sampled) == 6
    rows = read_plan(sampled.plan)
    made = sample_plan(sampled)
    assert [record.image_id for record in made.records()] == [row.image_id for row in rows]
    after = pixels(sampled)
    kept = before.keys() & after.keys()
    assert len(kept) == 18 and len(after) == 24
    assert all(np.array_equal(after[name], 255 - before[name]) for name in kept)
    # The new ones are what sampling them alone gives.
    config, checkpoint = sampled.section("sample", SampleConfig), sampled.section("finetune", FinetuneConfig).checkpoint
    new = [row for row in rows if row.image_id not in kept]
    pipe = load_pipeline(Generator(checkpoint, sampled.lora, config.adapter))
    alone = sample_rows(pipe, pipe, new, embed_donors(pipe, ImageSet.open(sampled.donors), new), size=32, config=config)
    for row, image in zip(new, alone, strict=True):
        assert np.abs(image.astype(int) - after[row.image_id]).max() <= 1
    assert not list(sampled.runs.glob("candidates-earlier*"))
    assert sample_plan(sampled).digest == made.digest


def test_a_killed_top_up_goes_on_to_the_same_bytes(sampled):
    invert(sampled)
    earlier = sampled.candidates.with_name("candidates-earlier")
    shutil.copytree(sampled.candidates, sampled.runs / "saved")
    split(sampled, lambda n: n % 4)
    plan_top_up(sampled)
    digest = sample_plan(sampled).digest
    whole = {file.name: file.read_bytes() for file in sampled.candidates.glob("*.parquet")}
    marker = read_json(sampled.candidates / "_complete.json")
    # As after a kill: the earlier set stands aside, of the new one a shard is there.
    shutil.rmtree(sampled.candidates)
    (sampled.runs / "saved").rename(earlier)
    sampled.candidates.mkdir()
    keys = ("schema_version", "count", "shard_size", "config")
    write_json(sampled.candidates / "_building.json", {key: marker[key] for key in keys})
    (sampled.candidates / "shard-00000.parquet").write_bytes(whole["shard-00000.parquet"])
    assert sample_plan(sampled).digest == digest
    assert {file.name: file.read_bytes() for file in sampled.candidates.glob("*.parquet")} == whole
    assert not earlier.exists()


def test_with_other_settings_nothing_is_copied(sampled):
    before = pixels(sampled)
    invert(sampled)
    split(sampled, lambda n: n % 4)
    plan_top_up(sampled)
    text = sampled.config_path.read_text().replace("steps: 2, ", "steps: 3, ").replace("steps: 2\n", "steps: 3\n")
    assert text != sampled.config_path.read_text()
    sampled.config_path.write_text(text)
    changed = Build.load(sampled.config_path)
    sample_plan(changed)
    after = pixels(changed)
    negatives = [np.abs(after[name].astype(int) - (255 - before[name])).mean() for name in before.keys() & after.keys()]
    assert len(negatives) == 18 and min(negatives) > 5


def test_the_filter_must_have_judged_this_plan(sampled):
    split(sampled, lambda n: n % 4)
    assert len(kept_images(sampled, read_plan(sampled.plan))) == 18
    rows = read_plan(sampled.plan)
    write_plan([rows[0].model_copy(update={"seed": rows[0].seed + 1}), *rows[1:]], sampled.plan)
    with pytest.raises(UserError, match="not of the plan that is there; run 'mema generate sample'"):
        plan_top_up(sampled)


def write_votes(build, votes) -> None:
    """Write image, annotator, accept and round of each vote as annotators hand them over."""
    lines = ["image_id,annotator,accept,disease,severity,reason,lead_time_s,round,mask"]
    lines += [f"{image},{who},{accept},,,,,{number}," for image, who, accept, number in votes]
    build.annotations.mkdir(parents=True, exist_ok=True)
    (build.annotations / "annotations.csv").write_text("\n".join(lines) + "\n")


def test_what_annotators_decline_is_not_kept(sampled):
    split(sampled, lambda n: n % 4)
    rows = read_plan(sampled.plan)
    kept = sorted(kept_images(sampled, rows))
    write_votes(
        sampled,
        [(kept[0], who, accept, 0) for who, accept in (("a", 0), ("b", 0), ("c", 1))]
        + [(kept[1], who, accept, 0) for who, accept in (("a", 0), ("b", 1))],
    )
    write_json(sampled.annotations / "source.json", {"candidates": ImageSet.open(sampled.candidates).digest})
    assert kept_images(sampled, rows) == set(kept[1:])
    write_json(sampled.annotations / "source.json", {"candidates": "others"})
    assert kept_images(sampled, rows) == set(kept)


def test_what_the_last_round_says_of_an_image_counts(sampled):
    split(sampled, lambda n: n % 4)
    kept = sorted(kept_images(sampled, read_plan(sampled.plan)))
    digest = ImageSet.open(sampled.candidates).digest
    write_json(sampled.annotations / "source.json", {"candidates": digest})
    first = [(kept[0], "a", 0, 0), (kept[0], "b", 0, 0), (kept[0], "c", 1, 0)]
    first += [(kept[1], "a", 1, 0), (kept[1], "b", 0, 0), (kept[1], "c", 1, 0), (kept[2], "a", 0, 0)]
    write_votes(sampled, first)
    assert declined_images(sampled, digest) == {kept[0], kept[2]}
    # Of all rounds' votes two of four declined either image: only the last round tells them apart.
    write_votes(sampled, [(kept[1], "senior", 0, 1), *first, (kept[0], "senior", 1, 1)])
    assert declined_images(sampled, digest) == {kept[1], kept[2]}
    write_votes(sampled, [*first, (kept[0], "senior", 1, 2), (kept[0], "senior", 0, 10)])
    assert declined_images(sampled, digest) == {kept[0], kept[2]}


def test_a_table_without_rounds_is_named(sampled):
    write_json(sampled.annotations / "source.json", {"candidates": "c"})
    (sampled.annotations / "annotations.csv").write_text("image_id,annotator,accept\nimage-00000,a,0\n")
    with pytest.raises(UserError, match=r"annotations\.csv: no column 'round'"):
        declined_images(sampled, "c")
    write_votes(sampled, [("image-00000", "a", 0, "first")])
    with pytest.raises(UserError, match=r"annotations\.csv: round: not a whole number"):
        declined_images(sampled, "c")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_loop_of_commands_ends_with_a_full_set_of_the_cohorts_distribution(sampled):
    config = ("--config", str(sampled.config_path))
    run("curate", "audit", *config)
    run("curate", "filter", *config)
    first = read_plan(sampled.plan)
    rejected = ImageSet.open(sampled.filtered / "rejected").count
    assert rejected > 0, "nothing to top up"
    said = run("generate", "top-up", "--rounds", "0", *config)
    assert f"missing {rejected}" in said
    said = run("generate", "top-up", "--rounds", "9", *config)
    assert f"kept {len(first)}, missing 0; distances to the cohort: disease 0.0000, age 0.0000, gender 0.0000" in said
    final = read_json(sampled.plan.with_name("kept.report.json"))
    patients, kept = (ImageSet.open(path).records() for path in (sampled.cohort, sampled.filtered / "kept"))
    assert final["missing"] == 0 and final["images"] == len(kept) == len(first)
    assert max(distances(kept, patients)) <= LIMIT and joint_distance(kept, patients) <= LIMIT
    assert {record.image_id for record in kept} - {row.image_id for row in first}, "some were replaced"
    assert run("generate", "plan", "--top-up", *config).startswith("0 images replaced")
