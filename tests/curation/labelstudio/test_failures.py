"""What can go wrong between a builder and a server: one clear line, exit code 2, nothing lost, and it goes on."""

import numpy as np
import pytest
from label_studio_world import SHAPE, choice, make_build, run_command

from curation.labelstudio import pull, push
from curation.labelstudio.push import mask_region
from curation.labelstudio.rounds import load_rounds
from mema.annotations import read_annotations
from mema.taxonomy import load_taxonomy

pytestmark = [pytest.mark.label_studio, pytest.mark.usefixtures("here")]

CLINIC = load_taxonomy("eye_clinic")
FULL = "mema: the disk is full: free some space and run the same command again"
COUNT = 12


def tumour(name, image_id, again):
    mask = np.zeros(SHAPE, bool)
    mask[10:20, 5 : 10 + int(image_id[-4:])] = True
    return [choice("decision", "accept"), choice("disease", "bcc"), mask_region(mask)]


def refused(build, *arguments, **environment):
    """Run a command that must end with exit code 2; returns the last line of what it says."""
    done = run_command(build, "annotate", *arguments, **environment)
    assert done.returncode == 2
    return done.stderr.splitlines()[-1]


def quiet(line):
    pass


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def litter(folder):
    return list(folder.rglob("*.part"))


def test_a_wrong_token(live, tmp_path):
    build = make_build(tmp_path, "alone", 1, annotators=["loner"], repeated=0.0)
    wrong = {"LABEL_STUDIO_URL": live.url, "LABEL_STUDIO_API_KEY": "0" * 40}
    line = f"mema: {live.url}: the server refuses the token: it must be an administrator's"
    assert refused(build, "push", **wrong) == line
    push.push(build, say=quiet)
    assert refused(build, "pull", **wrong) == line
    assert pull.pull(build, say=quiet).progress == {(0, "loner"): (0, 1)}


def test_a_project_that_was_deleted_before_the_first_pull(live, tmp_path):
    build = make_build(tmp_path, "gone", 4, annotators=["first", "second"], repeated=0.0)
    plan = push.push(build, say=quiet)
    live.answer(plan, "first", tumour)
    live.admin.delete(f"/api/projects/{plan.projects['second']}/").raise_for_status()
    line = refused(build, "pull")
    assert line.startswith(f"mema: round 0, second: project {plan.projects['second']} was deleted on {live.url}; ")
    assert line.endswith("nothing of it was ever pulled: `mema annotate push --recreate` pushes its tasks again")
    # The other one's answers are there.
    given = read_annotations(build.answers, CLINIC, candidates="c0ffee")
    assert [one.annotator for one in given] == ["first"] * 4
    plan = push.push(build, recreate=True, say=quiet)
    live.answer(plan, "second", tumour)
    result = pull.pull(build, say=quiet)
    assert result.missing == ()
    assert result.progress == {(0, "first"): (4, 4), (0, "second"): (4, 4)}


def test_a_full_disk(live, small_disk):
    """Room for the round's plan but not for the project's number; for no export; for the export but not the answers."""
    build = make_build(small_disk.path, "full", COUNT, annotators=["patient"], repeated=0.0)
    small_disk.leave(1)
    assert refused(build, "push") == FULL
    assert litter(build.label_studio) == []
    assert load_rounds(build.label_studio)[0].projects == {}
    small_disk.resize(64 * 2**20)
    plan = push.push(build, say=quiet)
    listed = live.admin.get("/api/projects/", params={"title": "full, round 0: patient"}).raise_for_status().json()
    assert [project["task_number"] for project in listed["results"]] == [COUNT]

    pull.pull(build, say=quiet)
    before = contents(build.answers)
    live.answer(plan, "patient", tumour)
    project = plan.projects["patient"]
    export = live.admin.get(f"/api/projects/{project}/export", params={"exportType": "JSON"}).raise_for_status().content
    for room in (1, len(export) // small_disk.PAGE + 3):
        small_disk.leave(room)
        assert refused(build, "pull") == FULL
        assert contents(build.answers) == before
        assert litter(build.label_studio) == []
    small_disk.resize(64 * 2**20)
    assert pull.pull(build, say=quiet).progress == {(0, "patient"): (COUNT, COUNT)}
    assert len(list(build.answers.rglob("*.png"))) == COUNT
