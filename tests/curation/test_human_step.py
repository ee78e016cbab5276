"""The human step: what physicians said is a source of the pipeline, which no stage overwrites or deletes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from release_world import configure, curate, faces

from curation.agreement import run_agreement
from curation.annotate import run_annotate, take_answers
from curation.filter import KEPT
from curation.gate import check_complete
from curation.publish import track
from mema.annotations import PROGRESS, Annotation, Progress, read_annotations, write_annotations, write_progress
from mema.build import Build
from mema.errors import UserError
from mema.imageset import ImageSet
from mema.taxonomy import load_taxonomy

ROOT = Path(__file__).parents[2]
CLINIC = load_taxonomy("eye_clinic")


@pytest.fixture
def build(tmp_path, monkeypatch) -> Build:
    """A build with physicians, filtered and not annotated, in the working directory, as a builder's clone is."""
    monkeypatch.chdir(tmp_path)
    curate(configure(Path(), "1.0.0"), faces(), ("dr-a",))
    shutil.rmtree("runs/annotations")
    return decide("physicians")


def decide(by: str) -> Build:
    values = yaml.safe_load(Path("build.yaml").read_text())
    Path("build.yaml").write_text(yaml.safe_dump({**values, "annotate": {"by": by}}))
    return Build.load("build.yaml")


def answer(build: Build, count: int, annotator: str = "dr-a") -> None:
    """Write the first ``count`` answers of an annotator, as a pull does."""
    records = ImageSet.open(build.filtered / KEPT).records()
    given = [
        Annotation(image_id=record.image_id, annotator=annotator, accept=True, disease=record.disease)
        for record in records[:count]
    ]
    write_annotations(build.answers, given, candidates=ImageSet.open(build.candidates).digest)
    write_progress(build.answers, [Progress(round=0, annotator=annotator, answered=count, asked=len(records))])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def execute(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    return subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=False, env=environment
    )


def test_the_command_takes_the_answers_or_says_that_there_are_none(build):
    command = ("mema.cli", "curate", "annotate", "--config", "build.yaml")
    done = execute(*command)
    assert done.returncode == 2
    assert done.stderr == "mema: answers/small holds no annotations: run `mema annotate pull` first\n"
    answer(build, 0)
    with pytest.raises(UserError, match="nobody has answered yet"):
        take_answers(build)
    assert not build.annotations.exists()
    answer(build, 48)
    before = contents(build.answers)
    done = execute(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("dr-a: 48 images\n")
    assert contents(build.annotations) == before == contents(build.answers)
    check_complete(build, min_recognisers=1, min_annotators=1)


def test_answers_of_other_candidates_are_refused_and_kept(build):
    write_annotations(build.answers, [], candidates="0" * 64)
    before = contents(build.answers)
    with pytest.raises(UserError, match="of other candidates"):
        take_answers(build)
    assert contents(build.answers) == before


def test_the_oracle_leaves_the_answers_alone(build):
    answer(build, 48)
    before = contents(build.answers)
    take_answers(build)
    oracle = decide("oracle")
    run_annotate(oracle)
    given = read_annotations(oracle.annotations, CLINIC, candidates=ImageSet.open(oracle.candidates).digest)
    assert all(one.by_machine for one in given)
    assert not (oracle.annotations / PROGRESS).exists(), "what the physicians had been asked is not the oracle's"
    assert contents(oracle.answers) == before
    # Asked for physicians, nobody gets what the oracle said.
    with pytest.raises(
        UserError, match="runs/annotations is not what lies in answers/small: run `mema curate annotate`"
    ):
        check_complete(decide("physicians"), min_recognisers=1, min_annotators=1)


def test_a_later_pull_must_be_taken_before_a_release(build):
    answer(build, 48)
    take_answers(build)
    answer(build, 48, "dr-b")
    with pytest.raises(UserError, match="is not what lies in answers/small"):
        check_complete(build, min_recognisers=1, min_annotators=1)
    take_answers(build)
    assert {one.annotator for one in check_complete(build, min_recognisers=1, min_annotators=1).annotations} == {"dr-b"}
    # The card shows how far they agree, so that must have been measured on what is released.
    run_agreement(build)
    with pytest.raises(UserError, match="is not what lies in answers/small"):
        check_complete(build, min_recognisers=1, min_annotators=1)
    take_answers(build)
    check_complete(build, min_recognisers=1, min_annotators=1)


@pytest.mark.slow
def test_dvc_takes_every_pull_and_overwrites_none(build):
    """The stage of ``dvc.yaml`` itself, on this build."""
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text().replace("configs/demo.yaml", "build.yaml"))
    stage = pipeline["stages"]["annotate"]
    assert stage["cmd"].startswith("mema ")
    stage["cmd"] = f"{sys.executable} -m mema.cli {stage['cmd'].removeprefix('mema ')}"
    stage["deps"] = [path for path in stage["deps"] if "$" in path]
    assert "${paths.answers}" in stage["deps"]
    Path("dvc.yaml").write_text(yaml.safe_dump({"vars": pipeline["vars"], "stages": {"annotate": stage}}))
    Path("answers").mkdir()
    shutil.copy(ROOT / "answers" / "README.md", "answers")
    subprocess.run(["git", "init", "-q"], check=True)
    assert execute("dvc", "init", "-q").returncode == 0

    failed = execute("dvc", "repro")
    assert failed.returncode != 0 and "run `mema annotate pull` first" in failed.stderr
    versions = []
    for count in (10, 48):
        answer(build, count)
        track(build.answers)
        versions.append(Path("answers/small.dvc").read_text())
        before = contents(build.answers)
        # Forced, it runs whatever DVC remembers of earlier runs.
        for options in ([], ["--force"]):
            done = execute("dvc", "repro", *options)
            assert done.returncode == 0, done.stderr
            assert contents(build.answers) == before == contents(build.annotations)
    # The first version can be had back.
    Path("answers/small.dvc").write_text(versions[0])
    assert execute("dvc", "checkout", "answers/small.dvc").returncode == 0
    given = read_annotations(build.answers, CLINIC, candidates=ImageSet.open(build.candidates).digest)
    assert len(given) == 10
