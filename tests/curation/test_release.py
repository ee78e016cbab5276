import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import datasets
import numpy as np
import pytest
import yaml
from curation_world import make_build

from curation.publish import publish
from curation.release import ReleaseConfig, build_release
from curation.splits import assign_splits
from mema.annotations import read_annotations, write_annotations
from mema.build import Build
from mema.config import validate
from mema.errors import UserError
from mema.imageset import ImageSet
from mema.release import SPLITS, Release
from mema.taxonomy import load_taxonomy

ROOT = Path(__file__).parents[2]


def contents(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


def annotations_of(build):
    candidates = ImageSet.open(build.candidates).digest
    return read_annotations(build.annotations, load_taxonomy(build.clinic), candidates=candidates)


def annotate_anew(build, annotations):
    write_annotations(build.annotations, annotations, candidates=ImageSet.open(build.candidates).digest)


def test_the_release_holds_every_accepted_image_once_with_the_annotators_labels(released):
    release = Release.open(released.release)
    release.verify()
    kept = {face.record.image_id: face for face in ImageSet.open(released.filtered / "kept").faces()}
    given = {one.image_id: one for one in annotations_of(released)}
    found = Counter()
    for split in SPLITS:
        for record, image, _ in release.imageset(split).faces():
            found[record.image_id] += 1
            assert record.split == split
            assert record.disease == given[record.image_id].disease
            assert record.severity is None
            assert record.provenance.annotator == given[record.image_id].annotator
            assert record.provenance.prompt == kept[record.image_id].record.provenance.prompt
            assert np.array_equal(image, kept[record.image_id].image)
    assert found == {image_id: 1 for image_id, one in given.items() if one.accept}
    assert sum(release.counts.values()) == sum(found.values()) > 0
    assert release.machine_annotated
    assert release.phantom


def test_no_donor_is_in_two_splits(released):
    release = Release.open(released.release)
    splits = {}
    for split in SPLITS:
        for record in release.imageset(split).records():
            assert splits.setdefault(record.provenance.donor_id, split) == split
    assert len(splits) > 3


def test_plain_datasets_opens_the_folder_as_splits(released, tmp_path):
    opened = datasets.load_dataset(str(released.release), cache_dir=str(tmp_path / "cache"))
    release = Release.open(released.release)
    assert {split: len(opened[split]) for split in opened} == release.counts
    first = next(release.imageset("train").faces())
    assert np.array_equal(np.asarray(opened["train"][0]["image"]), first.image)
    files = {split: str(released.release / split / "*.parquet") for split in SPLITS}
    assert datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "c2")).keys() == set(SPLITS)


def test_checksums_are_those_of_sha256sum(released):
    subprocess.run(["sha256sum", "--quiet", "-c", "checksums.sha256"], cwd=released.release, check=True)


def test_card_says_in_plain_words_what_it_is(released):
    card = (released.release / "README.md").read_text()
    _, header, body = card.split("---\n", 2)
    parsed = yaml.safe_load(header)
    assert parsed["license"] == "cc-by-4.0"
    assert {"phantom", "machine-annotated", "medical"} <= set(parsed["tags"])
    assert [one["split"] for one in parsed["configs"][0]["data_files"]] == list(SPLITS)
    assert "This is a phantom" in body
    assert "Annotated by a machine" in body
    assert "nothing measured on it, is a clinical result" in body
    release = Release.open(released.release)
    assert f"{sum(release.counts.values())} faces" in body
    for name in (*json.loads((released.release / "audit.json").read_text())["recognisers"], "any", "majority"):
        assert f"| {name} |" in body
    for annotator in release.annotators:
        assert annotator in body


def test_card_of_a_real_hospital_annotated_by_people_claims_neither(copied):
    people = [one.model_copy(update={"annotator": "dr-a"}) for one in annotations_of(copied)]
    annotate_anew(copied, people)
    text = copied.config_path.read_text().replace("phantom: true", "phantom: false")
    copied.config_path.write_text(text)
    release = build_release(Build.load(copied.config_path))
    card = (release.folder / "README.md").read_text()
    assert not release.machine_annotated
    assert "This is a phantom" not in card
    assert "Annotated by a machine" not in card
    assert "- phantom" not in card


def test_same_inputs_same_bytes(released, copied):
    shutil.rmtree(copied.release)
    build_release(copied)
    assert contents(copied.release) == contents(released.release)
    build_release(copied)
    assert contents(copied.release) == contents(released.release)


@pytest.mark.parametrize(
    "place", ["mema.imageset._encode_shard", "curation.documents.render", "mema.release.atomic_write"]
)
def test_killed_midway_and_run_again_gives_the_same_bytes(released, copied, place):
    shutil.rmtree(copied.release)
    program = (
        "import os, signal, sys; from pathlib import Path; from mema.build import Build; import curation.release\n"
        f"module, name = {place!r}.rsplit('.', 1); module = sys.modules[module]; whole = getattr(module, name)\n"
        "calls = []\n"
        "def deadly(*arguments, **named):\n"
        "    calls.append(1)\n"
        "    if len(calls) == (2 if name == '_encode_shard' else 1):\n"
        "        next(Path(sys.argv[2]).iterdir(), None)\n"
        "        (Path(sys.argv[2]) / '.half.part').write_bytes(b'half')\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return whole(*arguments, **named)\n"
        "setattr(module, name, deadly)\n"
        "curation.release.build_release(Build.load(sys.argv[1]))\n"
    )
    staging = copied.release.with_name(".release.building")
    command = [sys.executable, "-c", program, str(copied.config_path), str(staging)]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert list(staging.glob("train/*.parquet"))
    with pytest.raises(UserError, match="holds no release"):
        Release.open(copied.release)
    build_release(copied)
    assert contents(copied.release) == contents(released.release)
    assert not staging.exists()


def test_refused_without_audit(copied):
    shutil.rmtree(copied.audit)
    with pytest.raises(UserError, match="run `mema curate audit` first"):
        build_release(copied)


def test_refused_with_an_audit_of_other_candidates(copied):
    report = json.loads((copied.audit / "audit.json").read_text())
    report["candidates"] = "0" * 64
    (copied.audit / "audit.json").write_text(json.dumps(report))
    with pytest.raises(UserError, match="the audit is of other candidates"):
        build_release(copied)


def test_refused_when_the_audit_was_run_again_after_filtering(copied):
    path = copied.audit / "audit.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(UserError, match="filtered by another audit"):
        build_release(copied)


def test_refused_with_too_few_recognisers(copied):
    copied.config_path.write_text(copied.config_path.read_text().replace("release:", "release:\n  min_recognisers: 9"))
    with pytest.raises(UserError, match="a release needs 9"):
        build_release(Build.load(copied.config_path))


def test_refused_when_an_image_is_not_annotated(copied):
    annotations = annotations_of(copied)
    annotate_anew(copied, annotations[1:])
    with pytest.raises(UserError, match=f"1 of .* not annotated, the first is {annotations[0].image_id}"):
        build_release(copied)


def test_refused_when_annotators_are_divided(copied):
    first = annotations_of(copied)[0]
    other = first.model_copy(update={"annotator": "dr-b", "accept": not first.accept, "disease": "bcc"})
    annotate_anew(copied, [*annotations_of(copied), other])
    with pytest.raises(UserError, match=f"divided on 1 images, the first is {first.image_id}"):
        build_release(copied)


def test_annotations_outlive_filtering_but_not_the_candidates(copied, released):
    annotations = annotations_of(copied)
    left_out = annotations[0].model_copy(update={"image_id": "virtual-9999"})
    annotate_anew(copied, [*annotations, left_out])
    build_release(copied)
    assert contents(copied.release) == contents(released.release)
    write_annotations(copied.annotations, annotations, candidates="0" * 64)
    with pytest.raises(UserError, match="the annotations are of other candidates"):
        build_release(copied)


def test_refused_when_the_filter_was_interrupted(copied):
    path = copied.filtered / "report.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "digest": "0" * 64}))
    with pytest.raises(UserError, match="was not finished: run `mema curate filter` again"):
        build_release(copied)


def test_version_and_phantom_must_be_stated():
    with pytest.raises(UserError, match="release: version"):
        validate(ReleaseConfig, {"phantom": True, "version": "1"}, "release")
    with pytest.raises(UserError, match="release: phantom"):
        validate(ReleaseConfig, {"version": "1.0.0"}, "release")


def test_splits_keep_groups_whole_sizes_and_diseases_in_proportion():
    random = np.random.default_rng(0)
    groups = random.integers(90, size=400).tolist()
    diseases = random.choice(list("abcd"), size=400, p=[0.5, 0.25, 0.15, 0.1]).tolist()
    shares = {"train": 0.6, "selection": 0.1, "validation": 0.3}
    splits = assign_splits(groups, diseases, shares)
    assert splits == assign_splits(groups, diseases, shares)
    for group in set(groups):
        assert len({split for g, split in zip(groups, splits, strict=True) if g == group}) == 1
    for split, share in shares.items():
        assert splits.count(split) == pytest.approx(400 * share, abs=4)
        for disease in "abcd":
            both = sum(d == disease and s == split for d, s in zip(diseases, splits, strict=True))
            assert both == pytest.approx(diseases.count(disease) * share, abs=4)


def test_too_few_groups_for_the_splits_are_refused():
    with pytest.raises(UserError, match="would be empty: 9 images in 2 groups"):
        assign_splits([0] * 5 + [1] * 4, ["a"] * 9, {"train": 1, "selection": 1, "validation": 1})


@pytest.fixture
def repository(copied, tmp_path):
    """A folder under git and DVC that holds the build."""
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    return copied


def test_publish_copies_and_tracks_and_never_changes_a_version(repository):
    target = publish(repository)
    assert target == repository.data / "phantom-test" / "1.2.3"
    assert contents(target) == contents(repository.release)
    tracked = (repository.data.parent / "data.dvc").read_text()
    assert publish(repository) == target
    assert (repository.data.parent / "data.dvc").read_text() == tracked
    people = [one.model_copy(update={"annotator": "dr-a"}) for one in annotations_of(repository)]
    annotate_anew(repository, people)
    build_release(repository)
    with pytest.raises(UserError, match="holds another release"):
        publish(repository)
    publish(repository, replace=True)
    assert contents(target) == contents(repository.release)


def test_only_a_phantom_release_may_be_replaced(repository):
    publish(repository)
    repository.config_path.write_text(repository.config_path.read_text().replace("phantom: true", "phantom: false"))
    build = Build.load(repository.config_path)
    build_release(build)
    with pytest.raises(UserError, match="holds another release"):
        publish(build, replace=True)


def test_publish_outside_a_dvc_repository_is_one_line(copied):
    with pytest.raises(UserError, match="dvc add"):
        publish(copied)


def test_publish_refuses_a_release_that_was_changed(copied):
    (copied.release / "README.md").write_text("another card")
    with pytest.raises(UserError, match=r"README\.md is not what was released"):
        publish(copied)


def test_all_stages_by_command(tmp_path, faces, released):
    build = make_build(tmp_path, faces)
    for stage in ("curate audit", "curate filter", "curate annotate", "release build"):
        command = [sys.executable, "-m", "mema.cli", *stage.split(), "--config", str(build.config_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "CANARY" not in done.stdout + done.stderr
    assert contents(build.release) == contents(released.release)
