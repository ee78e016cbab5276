"""From one version to the next: what stays, what is said to have changed, and what verification finds."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import mlcroissant
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard
from release_world import PATIENT, annotate, configure, curate, face, faces, mask_of, read, write_nearest

from curation.comparison import compare_releases, records_of
from curation.gate import check_complete
from curation.making import read_ledger, read_tombstones
from curation.publish import publish
from curation.release import build_release
from curation.retraction import newest, retract
from curation.verification import verify_release
from mema.annotations import PROGRESS, Progress, read_annotations, write_progress
from mema.build import Build
from mema.errors import UserError
from mema.files import sha256_json
from mema.imageset import ImageSet
from mema.release import CHECKSUMS, FILE, SPLITS, Release, checksums
from mema.taxonomy import load_taxonomy

ROOT = Path(__file__).parents[2]
OFFLINE = {**os.environ, "HF_HUB_OFFLINE": "1", "DVC_NO_ANALYTICS": "1"}


def mema(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mema.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=OFFLINE)


def first_version(folder: Path, chosen=None, **release) -> Build:
    build = configure(folder, "1.0.0", **release)
    curate(build, faces() if chosen is None else chosen)
    build_release(build)
    return build


def keep(build: Build) -> Path:
    """Put the built release where ``publish`` would, without DVC."""
    release = Release.open(build.release)
    return Path(shutil.copytree(build.release, build.data / release.name / release.version))


def next_version(build: Build, chosen, version: str = "1.1.0", **release) -> Build:
    """Configure and curate the version that continues the newest published one."""
    following = configure(build.config_path.parent, version, previous=str(newest(build)), **release)
    curate(following, chosen)
    return following


@pytest.fixture(scope="session")
def first(tmp_path_factory) -> Build:
    """A build whose version 1.0.0 lies in its data folder; tests must not change it."""
    build = first_version(tmp_path_factory.mktemp("first"))
    keep(build)
    return build


@pytest.fixture
def copied(first, tmp_path) -> Build:
    shutil.copytree(first.runs.parent, tmp_path, dirs_exist_ok=True)
    return configure(tmp_path, "1.0.0")


def resealed(folder: Path) -> None:
    """Make the hashes fit what the folder holds now, as a forger would."""
    said = json.loads((folder / FILE).read_text())
    release = Release.seal(
        folder,
        **{key: said[key] for key in ("name", "version", "clinic", "phantom", "machine_annotated", "annotators")},
    )
    assert (folder / CHECKSUMS).read_text() == checksums(release.files)


# Splits


def test_no_image_moves_and_what_joins_a_group_follows_it(copied):
    old = records_of(Release.open(newest(copied)))
    donors = {record.provenance.donor_id: record.split for record in old.values()}
    pair = next(one for one in faces() if old[one.record.image_id].split == "selection")
    near = face(90, donor="donor-new", image=np.clip(pair.image.astype(int) + 1, 0, 255).astype(np.uint8))
    sibling = face(91, donor="donor-000")
    strangers = [face(index) for index in range(48, 72)]
    build = next_version(
        copied, [*strangers, near, sibling, *faces()[4:]], shares={"train": 1, "selection": 1, "validation": 8}
    )
    after = build_release(build)
    new = records_of(after)
    assert all(new[one].split == old[one].split for one in old.keys() & new.keys())
    assert new["virtual-0090"].split == "selection"
    assert new["virtual-0091"].split == donors["donor-000"]
    assert after.previous is not None and after.previous.version == "1.0.0"
    assert {new[one.record.image_id].split for one in strangers} >= {"validation"}
    assert verify_release(after.folder, newest(copied)) == []


def test_an_image_that_would_join_two_splits_is_left_out_and_counted(copied):
    old = records_of(Release.open(newest(copied)))
    trained = next(one for one in faces() if old[one.record.image_id].split == "train")
    donor = next(one.provenance.donor_id for one in old.values() if one.split == "validation")
    bridge = face(90, donor=donor, image=trained.image)
    follower = face(91, donor=donor)
    after = build_release(next_version(copied, [bridge, follower, *faces()]))
    new = records_of(after)
    assert "virtual-0090" not in new
    assert new["virtual-0091"].split == "validation"
    assert (
        "left out, because they join two splits of earlier versions: 1\n" in (after.folder / "CHANGELOG.md").read_text()
    )
    assert "1 more were left out" in (after.folder / "README.md").read_text()
    assert verify_release(after.folder, newest(copied)) == []


def test_an_image_that_comes_back_after_a_version_is_where_it_was(copied):
    old = records_of(Release.open(newest(copied)))
    build = next_version(copied, faces()[8:])
    build_release(build)
    keep(build)
    third = build_release(next_version(build, faces(), "1.2.0", shares={"train": 1, "selection": 1, "validation": 1}))
    new = records_of(third)
    assert {one: new[one].split for one in old} == {one: record.split for one, record in old.items()}


def test_an_id_must_not_come_to_stand_for_another_picture(copied):
    other = face(3, image=face(99).image)
    with pytest.raises(UserError, match="virtual-0003 is another picture than in the version before"):
        build_release(next_version(copied, [*faces()[:3], other, *faces()[4:]]))


def test_looser_near_duplicates_than_before_cannot_move_images(copied):
    with pytest.raises(UserError, match=r"take the earlier version's release\.group_rms"):
        build_release(next_version(copied, faces(), group_rms=200.0))


@pytest.mark.parametrize("version", ["1.0.0", "0.9.9"])
def test_versions_go_up(copied, version):
    with pytest.raises(UserError, match=f"{version} does not follow 1.0.0"):
        build_release(next_version(copied, faces(), version))


def test_the_previous_version_must_be_whole_and_another_folder(copied):
    with pytest.raises(UserError, match="is where the release is built"):
        build_release(copied, previous=copied.release)
    (newest(copied) / "README.md").write_text("x")
    with pytest.raises(UserError, match=r"README\.md is not what was released"):
        build_release(next_version(copied, faces()))


# Content


def test_masks_subset_holds_the_majority_of_the_masks_bit_exact(first):
    release = Release.open(first.release)
    for split, sources in {"train": ["train"], "validation": ["selection", "validation"]}.items():
        seg = list(ImageSet.open(first.release / "seg" / split).faces())
        whole = {
            one.record.image_id: one for s in sources for one in release.imageset(s).faces() if one.mask is not None
        }
        assert [one.record.image_id for one in seg] == list(whole)
        assert len(seg) == release.masks[split] > 0
        for one in seg:
            assert one.record.split == split
            assert np.array_equal(one.mask, mask_of(one.record.provenance.seed))
            assert np.array_equal(one.image, whole[one.record.image_id].image)


def test_load_dataset_opens_every_split_of_both_configurations_of_two_versions(copied, tmp_path):
    build = next_version(copied, [*faces(), *(face(i) for i in range(48, 60))])
    build_release(build)
    for folder in (newest(copied), build.release):
        release = Release.open(folder)
        cache = str(tmp_path / "cache" / release.version)
        whole = datasets.load_dataset(str(folder), cache_dir=cache)
        assert {split: len(whole[split]) for split in whole} == release.counts
        masks = datasets.load_dataset(str(folder), "seg", cache_dir=cache)
        assert {split: len(masks[split]) for split in masks} == release.masks
        row = masks["train"][0]
        assert np.array_equal(np.asarray(row["mask"]) > 0, mask_of(row["provenance"]["seed"]))


def test_the_hub_reads_the_card(first):
    card = DatasetCard.load(first.release / "README.md")
    assert (card.data.license, card.data.size_categories) == ("cc-by-4.0", ["n<1K"])
    names = [one["config_name"] for one in card.data.configs]
    assert names == ["default", "seg"]
    assert [one["split"] for one in card.data.configs[0]["data_files"]] == list(SPLITS)
    assert not card.text.count("{{") and not card.text.count("{%")


def test_croissant_validates_and_its_records_are_the_images(first):
    described = mlcroissant.Dataset(jsonld=first.release / "croissant.json")
    assert not described.metadata.ctx.issues.errors
    release = Release.open(first.release)
    rows = list(described.records("default"))
    known = records_of(release)
    assert {row["default/image_id"].decode() for row in rows} == known.keys()
    assert all(row["default/disease"].decode() == known[row["default/image_id"].decode()].disease for row in rows)
    masks = list(described.records("seg"))
    assert len(masks) == sum(release.masks.values())
    assert np.array_equal(
        np.asarray(masks[0]["seg/mask"]) > 0, mask_of(known[masks[0]["seg/image_id"].decode()].provenance.seed)
    )


def test_datasheet_answers_or_says_unknown(first):
    text = (first.release / "DATASHEET.md").read_text()
    sections = ["Motivation", "Composition", "Collection", "Preprocessing", "Uses", "Distribution", "Maintenance"]
    assert all(f"## {name}" in text for name in sections)
    assert "**Who funded it?** Unknown." in text
    assert "a tumour mask for 12 of them" in text


def test_an_agreement_report_is_carried_and_its_numbers_are_on_the_card(copied):
    report = {"fleiss_kappa": {"value": 0.8125, "images": 48}, "pairs": [{"a": "dr-a"}], "note": "x"}
    (copied.annotations / "agreement.json").write_text(json.dumps(report))
    release = build_release(copied)
    card = (release.folder / "README.md").read_text()
    assert "| fleiss_kappa.value | 0.812 |" in card and "| fleiss_kappa.images | 48 |" in card
    assert json.loads((release.folder / "agreement.json").read_text()) == report


def test_same_config_and_annotations_same_hash(first, tmp_path):
    again = first_version(tmp_path)
    assert Release.open(again.release).digest == Release.open(first.release).digest
    assert (again.release / FILE).read_bytes() == (first.release / FILE).read_bytes()
    other = configure(tmp_path, "1.0.0", group_rms=5.0)
    assert build_release(other).digest != Release.open(first.release).digest


def test_no_private_name_or_path_is_in_a_release(first):
    for file in first.release.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert b"CANARY" not in data and str(first.release.parent).encode() not in data, file.name


# Refusals


def test_every_reason_is_said_at_once(copied):
    given = read_annotations(
        copied.annotations, load_taxonomy("eye_clinic"), candidates=ImageSet.open(copied.candidates).digest
    )
    divided = given[2].model_copy(update={"accept": False, "mask": None})
    annotate(
        copied,
        [
            *given[2:],
            divided.model_copy(update={"annotator": "dr-c"}),
            divided.model_copy(update={"annotator": "dr-d"}),
        ],
    )
    report = copied.filtered / "report.json"
    report.write_text(json.dumps({**json.loads(report.read_text()), "digest": "0" * 64}))
    with pytest.raises(UserError) as refused:
        check_complete(copied, min_recognisers=3, min_annotators=3)
    message = str(refused.value)
    assert message.startswith("no release, for 5 reasons: (1)") and "\n" not in message
    for part in (
        "a release needs 3",
        "was not finished",
        "1 of 48 kept images are not annotated, the first is virtual-0000",
        "46 images have fewer than 3 annotators",
        "divided on 1 images, the first is virtual-0001",
    ):
        assert part in message


def test_refused_while_answers_are_open(copied):
    done = Progress(round=0, annotator="dr-a", answered=48, asked=48)
    write_progress(copied.annotations, [done])
    check_complete(copied, min_recognisers=1, min_annotators=1)
    half = Progress(round=0, annotator="dr-b", answered=40, asked=48)
    later = Progress(round=1, annotator="dr-c", answered=0, asked=3)
    write_progress(copied.annotations, [done, half, later])
    with pytest.raises(UserError, match=r"11 answers are open, .* dr-b in round 0, 40 of 48 given: run `mema annotate"):
        check_complete(copied, min_recognisers=1, min_annotators=1)
    with pytest.raises(UserError, match=r"for 2 reasons: .* a release needs 3.*\(2\).* 11 answers are open"):
        check_complete(copied, min_recognisers=3, min_annotators=1)
    (copied.annotations / PROGRESS).write_text('[{"round": 0, "annotator": "dr-a", "answered": "many", "asked": 4}]')
    with pytest.raises(UserError, match=r"progress\.json: 0: answered: Input should be a valid integer"):
        check_complete(copied, min_recognisers=1, min_annotators=1)


def test_without_audit_and_annotations_both_are_said_by_the_command(copied):
    shutil.rmtree(copied.audit)
    shutil.rmtree(copied.annotations)
    done = mema("release", "build", "--config", copied.config_path)
    assert done.returncode == 2
    assert "run `mema curate audit` first" in done.stderr and "run `mema curate annotate` first" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_mask_of_another_size_is_refused(copied):
    from mema.annotations import Annotation, write_mask

    given = [a for one in faces()[1:] for a in read(copied, one, ("dr-a",))]
    wrong = write_mask(
        copied.annotations,
        Annotation(image_id="virtual-0000", annotator="dr-a", accept=True, disease="bcc"),
        np.ones((8, 8), bool),
    )
    annotate(copied, [wrong, *given])
    with pytest.raises(UserError, match="a mask of virtual-0000 is not of its size, 32 x 32"):
        build_release(copied)


# Diff


def test_diff_names_what_differs(copied):
    build = next_version(copied, [*faces()[2:], face(60)])
    given = [a for one in [*faces()[2:], face(60)] for a in read(build, one, ("dr-a", "dr-b"))]
    relabelled = [
        one.model_copy(update={"disease": "uveitis"}) if one.image_id == "virtual-0005" else one for one in given
    ]
    annotate(build, relabelled)
    after = build_release(build)
    difference = compare_releases(Release.open(newest(copied)), after)
    assert difference.added == ["virtual-0060"]
    assert difference.removed == ["virtual-0000", "virtual-0001"]
    assert difference.moved == []
    assert difference.relabelled == [("virtual-0005", "disease", "conjunctivitis", "uveitis")]
    assert sum(pair[1] for by_split in difference.counts.values() for pair in by_split.values()) == 47
    done = mema("release", "diff", newest(copied), build.release)
    assert done.returncode == 0
    assert "label virtual-0005 disease: conjunctivitis → uveitis" in done.stdout
    assert done.stdout.splitlines()[-1] == "added 1, removed 2, relabelled 1, moved 0"
    log = (after.folder / "CHANGELOG.md").read_text()
    assert log.index("## 1.1.0") < log.index("## 1.0.0") and "- moved between splits: none" in log


# Retract


def test_retract_makes_the_next_version_without_the_images(copied, tmp_path):
    write_nearest(copied, ["virtual-0020", "virtual-0021", "virtual-0099"])
    listed = tmp_path / "CANARY-list.txt"
    listed.write_text(f"{PATIENT}\n\n")
    before = Release.open(newest(copied))
    after = retract(copied, before.folder, images=["virtual-0030"], donors=["donor-001"], patients=listed)
    gone = {"virtual-0020", "virtual-0021", "virtual-0030", *(f"virtual-{n:04d}" for n in range(4, 8))}
    difference = compare_releases(before, after)
    assert (after.version, after.folder) == ("1.0.1", before.folder.with_name("1.0.1"))
    assert set(difference.removed) == gone
    assert not difference.added and not difference.moved and not difference.relabelled
    reasons = {one.image_id: one.reason for one in read_tombstones(after.folder)}
    assert reasons.keys() == gone and reasons["virtual-0030"] == "fault"
    assert reasons["virtual-0004"] == "donor-withdrew" and reasons["virtual-0020"] == "patient-withdrew"
    assert verify_release(after.folder) == []
    for file in after.folder.rglob("*"):
        data = file.read_bytes() if file.is_file() else b""
        assert b"CANARY" not in data and b"donor-001" not in data, file.name
        if file.name not in ("tombstones.csv", "splits.csv"):
            assert not any(one.encode() in data for one in gone), file.name
    opened = datasets.load_dataset(str(after.folder), cache_dir=str(tmp_path / "cache"))
    assert {split: len(opened[split]) for split in opened} == after.counts
    mlcroissant.Dataset(jsonld=after.folder / "croissant.json")
    assert "patient-withdrew 2" in DatasetCard.load(after.folder / "README.md").text
    assert "  - donor-withdrew: 4" in (after.folder / "CHANGELOG.md").read_text()


def test_what_was_retracted_never_comes_back(copied):
    retract(copied, newest(copied), images=["virtual-0030"])
    build = next_version(copied, faces())
    assert build.section("release", type(build_config(build))).previous.name == "1.0.1"
    after = build_release(build)
    assert records_of(after).keys() == {one.record.image_id for one in faces()} - {"virtual-0030"}
    assert [one.version for one in read_tombstones(after.folder)] == ["1.0.1"]
    assert read_ledger(after.folder).keys() >= {"virtual-0030"}
    assert "virtual-0030" not in (after.folder / "annotations.csv").read_text()
    assert verify_release(after.folder, newest(copied)) == []


def build_config(build):
    from curation.release import ReleaseConfig

    return build.section("release", ReleaseConfig)


def test_retract_is_refused_in_one_line_that_names_no_patient(copied, tmp_path):
    with pytest.raises(UserError, match="has no image 'virtual-9999'"):
        retract(copied, newest(copied), images=["virtual-9999"])
    with pytest.raises(UserError, match="no image of this release is concerned"):
        retract(copied, newest(copied), donors=["donor-999"])
    listed = tmp_path / "list.txt"
    listed.write_text(f"{PATIENT}\nCANARY-patient-2\n")
    done = mema("release", "retract", "--config", copied.config_path, "--patients", listed)
    assert done.returncode == 2 and "line 2: no such subject in the cohort" in done.stderr
    assert "CANARY-patient" not in done.stdout + done.stderr
    listed.write_text(f"{PATIENT}\n")
    with pytest.raises(UserError, match="the audit's private table is missing"):
        retract(copied, newest(copied), patients=listed)
    with pytest.raises(UserError, match="'selection' would be empty"):
        selected = Release.open(newest(copied)).imageset("selection").records()
        retract(copied, newest(copied), images=[one.image_id for one in selected])
    assert [place.name for place in (copied.data / "small").iterdir()] == ["1.0.0"]


# Verify


def test_verify_finds_nothing_wrong_with_what_was_released(first):
    assert verify_release(first.release) == []
    assert mema("release", "verify", first.release).stdout.strip().endswith("as released")


def test_verify_says_every_change_of_a_file(copied):
    folder = copied.release
    (folder / "README.md").write_text("another card")
    (folder / "DATASHEET.md").unlink()
    (folder / "extra.txt").write_text("x")
    shard = folder / "train" / "shard-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:-100])
    done = mema("release", "verify", folder)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    for line in (
        "README.md: is not what was released (its sha256 differs)",
        "DATASHEET.md: is missing",
        "extra.txt: is not part of the release",
        "train/shard-00000.parquet: is not what was released (its sha256 differs)",
    ):
        assert line in done.stdout.splitlines()
    assert "train/shard-00000.parquet: cannot be read" in done.stdout
    assert "train: holds 0 images, release.json says 28" in done.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: {**row, "split": "validation"}, "says that its split is 'validation'"),
        (lambda row: {**row, "has_mask": not row["has_mask"]}, "has_mask disagree"),
        (lambda row: {**row, "image_id": "virtual-7777"}, "nobody accepted virtual-7777"),
        (lambda row: {**row, "provenance": {**row["provenance"], "donor_id": "donor-X"}}, "the donor donor-X is in"),
        (lambda row: {**row, "subject_id": "subject-X"}, "the subject subject-X is in"),
        (lambda row: {**row, "image": {**row["image"], "bytes": b"no image"}}, "cannot be read"),
    ],
)
def test_verify_finds_a_forgery_whose_hashes_fit(copied, change, message):
    folder = copied.release
    for split in ("train", "validation"):
        file = folder / split / "shard-00000.parquet"
        table = pq.read_table(file)
        rows = table.to_pylist()
        rows[0] = change(rows[0]) if split == "train" or "X" in message else rows[0]
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file, compression="none")
    resealed(folder)
    faults = verify_release(folder)
    assert any(message in fault for fault in faults), faults
    assert not any("sha256" in fault for fault in faults)


def test_verify_finds_near_duplicates_and_moves_across_splits(copied):
    build = next_version(copied, faces())
    after = build_release(build)
    moved = shutil.copytree(after.folder, copied.runs / "moved")
    # Two images change places: each split keeps its size.
    tables = {split: pq.read_table(moved / split / "shard-00000.parquet") for split in ("train", "validation")}
    rows = {split: table.to_pylist() for split, table in tables.items()}
    rows["train"][0], rows["validation"][0] = (
        {**rows["validation"][0], "split": "train"},
        {**rows["train"][0], "split": "validation"},
    )
    rows["validation"][1]["image"] = rows["train"][2]["image"]
    for split, table in tables.items():
        file = moved / split / "shard-00000.parquet"
        pq.write_table(pa.Table.from_pylist(rows[split], schema=table.schema), file, compression="none")
    resealed(moved)
    faults = verify_release(moved, newest(copied))
    swapped = rows["validation"][0]["image_id"]
    assert f"{swapped} was in train in 1.0.0 and is in validation now" in faults
    twins = sorted([rows["train"][2]["image_id"], rows["validation"][1]["image_id"]])
    assert any(fault.startswith("near-duplicates: ") and all(one in fault for one in twins) for fault in faults)
    assert any("is not the version that this one continues" in fault for fault in faults)


def test_verify_of_what_is_no_release_is_one_line(tmp_path):
    done = mema("release", "verify", tmp_path)
    assert done.returncode == 2 and "holds no release" in done.stderr and len(done.stderr.splitlines()) == 1


# DVC


@pytest.mark.slow
def test_a_second_clone_pulls_the_same_release(copied, tmp_path):
    work, clone, remote = copied.data.parent, tmp_path / "clone", tmp_path / "remote"
    (work / ".gitignore").write_text("/*-private\n/runs\n/data\n")

    def run(*command: object, at: Path = work) -> None:
        module = [sys.executable, "-m", "dvc"] if command[0] == "dvc" else ["git"]
        subprocess.run([*module, *map(str, command[1:])], cwd=at, check=True, capture_output=True, env=OFFLINE)

    run("git", "init", "-q")
    run("dvc", "init", "-q")
    run("dvc", "remote", "add", "-d", "store", remote)
    shutil.rmtree(copied.data)
    publish(copied)
    done = mema("release", "retract", "--config", copied.config_path, "--image", "virtual-0030")
    assert done.returncode == 0 and "fault: 1 images" in done.stdout, done.stderr
    run("dvc", "push", "-q")
    run("git", "add", ".dvc", ".dvcignore", "data.dvc", ".gitignore")
    run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "1.0.1")
    run("git", "clone", "-q", work, clone, at=tmp_path)
    assert not (clone / "data").exists()
    run("dvc", "pull", "-q", at=clone)
    for version in ("1.0.0", "1.0.1"):
        here, there = (place / "data" / "small" / version for place in (work, clone))
        release = Release.open(there)
        release.verify()
        assert release.digest == Release.open(here).digest == sha256_json(release.files)
        assert verify_release(there) == []
