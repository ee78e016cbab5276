"""The whole way on a real server: push, three annotators, pull, agreement, disputes; and what can go wrong on it."""

import io
import json
import re
import zipfile
from collections import Counter

import httpx
import numpy as np
import pytest
from label_studio_world import DISEASES, SHAPE, choice, make_build, run_command
from PIL import Image

from curation.agreement import DISPUTES, run_agreement
from curation.filter import KEPT
from curation.labelstudio import access, pull, push
from curation.labelstudio.push import mask_region
from curation.labelstudio.rounds import Shown, load_rounds
from mema.annotations import REPEATS, TABLE, agree, disputes, read_annotations, read_mask
from mema.errors import UserError
from mema.imageset import ImageSet
from mema.taxonomy import load_taxonomy

pytestmark = [pytest.mark.label_studio, pytest.mark.usefixtures("here")]

CLINIC = load_taxonomy("eye_clinic")
PEOPLE = ("annotator-1", "annotator-2", "annotator-3")
COUNT = 64
# Where the three opinions below all differ.
DIVIDED = {"virtual-0000", "virtual-0001", "virtual-0035"}
TASKS = 67  # of each annotator: 64 and, of a share of 0.05, three again


def quiet(line):
    pass


def opinion(name, image_id, again):
    """What an annotator says: the first knows the truth, the others err in ways that the tests can count."""
    number = int(image_id[-4:])
    disease = DISEASES[number % len(DISEASES)]
    if number in (0, 1):
        disease = {"annotator-1": disease, "annotator-2": "uveitis", "annotator-3": None}[name]
    elif name == "annotator-2" and number % 7 == 0:
        disease = "strabismus"
    elif name == "annotator-3" and number % 5 == 0:
        disease = None
    if again and name == "annotator-2":
        disease = "normal"
    return disease


def painted(name, image_id, again):
    random = np.random.default_rng([int(image_id[-4:]), PEOPLE.index(name) if name in PEOPLE else 9, again])
    return random.random(SHAPE) < 0.3


def result_of(name, image_id, again):
    disease = opinion(name, image_id, again)
    if disease is None:
        return [choice("decision", "reject"), choice("reason", "artefact")]
    said = [choice("decision", "accept"), choice("disease", disease), choice("severity", "mid")]
    return [*said, mask_region(painted(name, image_id, again))] if disease in ("bcc", "scc") else said


def count_tasks(live):
    projects = live.admin.get("/api/projects/", params={"page_size": 100}).raise_for_status().json()["results"]
    return {project["title"]: project["task_number"] for project in projects}


def kill_after(live, monkeypatch, module, name, calls):
    """Kill the server for good when ``module.name`` has done its work ``calls`` times."""
    work = getattr(module, name)
    done = iter(range(1, 1_000))

    def then_kill(*arguments, **options):
        result = work(*arguments, **options)
        if next(done) == calls:
            live.kill()
        return result

    monkeypatch.setattr(module, name, then_kill)


@pytest.fixture(scope="module")
def pushed(live, tmp_path_factory):
    """A push that lost its server in the middle, was run again, and again; what was on the server each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEMA_LABEL_STUDIO", str(live.home))
        build = make_build(tmp_path_factory.mktemp("build"), "campaign", COUNT, adjudicators=["senior"])
        with pytest.MonkeyPatch.context() as breaking:
            breaking.setattr(push, "TASKS_PER_REQUEST", 20)
            kill_after(live, breaking, push, "_local_urls", 6)
            with pytest.raises(UserError, match=r"the server does not answer.*nothing is lost"):
                push.push(build, say=quiet)
        live.start()
        counts = [count_tasks(live)]
        for _ in range(2):
            push.push(build, say=quiet)
            counts.append(count_tasks(live))
    return build, counts


@pytest.fixture(scope="module")
def pulled(live, pushed):
    """Three annotators answer everything; the server is killed in the middle of the first pull."""
    build, _ = pushed
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEMA_LABEL_STUDIO", str(live.home))
        (plan,) = load_rounds(build.label_studio)
        for name in PEOPLE:
            live.answer(plan, name, result_of)
        with pytest.MonkeyPatch.context() as breaking:
            kill_after(live, breaking, pull, "_fetch", 1)
            with pytest.raises(UserError, match="the server does not answer"):
                pull.pull(build, say=quiet)
        assert not build.answers.exists()
        live.start()
        return build, plan, pull.pull(build, say=quiet)


def test_a_killed_push_goes_on_and_nothing_doubles(live, pushed):
    build, (killed, resumed, again) = pushed
    titles = [f"campaign, round 0: {name}" for name in PEOPLE]
    # Four requests for the first annotator, one for the second; the sixth never arrived.
    assert [killed.get(title) for title in titles] == [TASKS, 20, None]
    assert [resumed[title] for title in titles] == [TASKS] * 3
    assert again == resumed
    (plan,) = load_rounds(build.label_studio)
    for name in PEOPLE:
        keys = [task["data"]["key"] for task in live.tasks(plan.projects[name])]
        assert Counter(keys) == Counter(plan.key(shown) for shown in plan.queue(name))


def test_annotators_are_blind_and_see_the_very_pixels(live, pushed):
    build, _ = pushed
    (plan,) = load_rounds(build.label_studio)
    images = {face.record.image_id: face.image for face in ImageSet.open(build.filtered / KEPT).faces()}
    by_key = {plan.key(shown): shown.image_id for shown in plan.queue(PEOPLE[0])}
    with live.log_in(PEOPLE[0]) as client:
        for task in live.tasks(plan.projects[PEOPLE[0]])[::9]:
            assert set(task["data"]) == {"image", "key"}
            assert re.fullmatch(r"[0-9a-f]{24}", task["data"]["key"])
            assert re.fullmatch(r"/data/local-files/\?d=[0-9a-f]{16}/[0-9a-f]{24}\.png", task["data"]["image"])
            assert task["predictions"] == []
            content = client.get(task["data"]["image"]).raise_for_status().content
            with Image.open(io.BytesIO(content)) as image:
                assert not image.info
                assert np.array_equal(np.asarray(image), images[by_key[task["data"]["key"]]])
    stored = b"".join(path.read_bytes() for path in (live.home / "files").rglob("*.png"))
    assert not any(word in stored for word in (b"virtual", b"donor", b"A face", b"seed"))


def test_only_those_who_log_in_see_images(live, pushed):
    build, _ = pushed
    (plan,) = load_rounds(build.label_studio)
    url = live.tasks(plan.projects[PEOPLE[0]])[0]["data"]["image"]
    assert httpx.get(live.url + url).status_code in (401, 403)


def test_pull_brings_back_what_was_said_everyones_apart(pulled):
    build, plan, result = pulled
    assert result.problems == []
    assert result.missing == ()
    assert result.progress == {(0, name): (TASKS, TASKS) for name in PEOPLE}
    for folder, again in ((build.answers, False), (build.answers / REPEATS, True)):
        given = read_annotations(folder, CLINIC, candidates="c0ffee")
        assert len(given) == sum(shown.again == again for name in PEOPLE for shown in plan.queue(name))
        for one in given:
            disease = opinion(one.annotator, one.image_id, again)
            assert (one.accept, one.disease) == (disease is not None, disease)
            assert (one.severity, one.reason) == (("mid", "") if disease else (None, "artefact"))
            assert one.lead_time_s == 7.5
            mask = read_mask(folder, one)
            if disease in ("bcc", "scc"):
                assert np.array_equal(mask, painted(one.annotator, one.image_id, again))
            else:
                assert mask is None


def test_the_servers_own_converter_reads_the_same_masks(live, pulled):
    _, plan, _ = pulled
    export = live.admin.get(
        f"/api/projects/{plan.projects[PEOPLE[0]]}/export", params={"exportType": "BRUSH_TO_PNG"}
    ).raise_for_status()
    shown = {plan.key(one): one for one in plan.queue(PEOPLE[0])}
    by_task = {task["id"]: shown[task["data"]["key"]] for task in live.tasks(plan.projects[PEOPLE[0]])}
    with zipfile.ZipFile(io.BytesIO(export.content)) as archive:
        assert archive.namelist()
        for name in archive.namelist():
            one = by_task[int(re.search(r"task-(\d+)-", name)[1])]
            with Image.open(io.BytesIO(archive.read(name))) as image:
                assert np.array_equal(np.asarray(image) > 0, painted(PEOPLE[0], one.image_id, one.again))


def test_agreement_is_that_of_the_opinions(pulled):
    build, plan, _ = pulled
    report = run_agreement(build)
    images = plan.images

    def readings(name):
        return [opinion(name, image_id, False) or "rejected" for image_id in images]

    def kappa(first, second):
        same = np.mean([a == b for a, b in zip(first, second, strict=True)])
        chance = sum(first.count(label) * second.count(label) for label in set(first)) / len(first) ** 2
        return (same - chance) / (1 - chance)

    for pair in report["pairs"]:
        first, second = map(readings, pair["annotators"])
        assert pair["images"] == COUNT
        assert pair["kappa_reading"] == pytest.approx(kappa(first, second))
    again = [shown.image_id for shown in plan.queue("annotator-2") if shown.again]
    same = sum(opinion("annotator-2", image_id, False) == "normal" for image_id in again)
    assert {one["annotator"]: one["same_reading"] for one in report["self"]} == {
        "annotator-1": 1.0,
        "annotator-2": pytest.approx(same / 3),
        "annotator-3": 1.0,
    }
    assert report["disputed"] == len(DIVIDED)
    lines = (build.answers / DISPUTES).read_text().splitlines()
    assert {line.split(",")[0] for line in lines[1:]} == DIVIDED


def test_disputes_are_pushed_on_their_own_and_settled(live, pulled):
    build, _, _ = pulled
    plan = push.push(build, settle=True, say=quiet)
    assert (plan.number, set(plan.images), plan.annotators) == (1, DIVIDED, ("senior",))
    assert push.push(build, settle=True, say=quiet) == plan
    assert count_tasks(live)["campaign, disputes 1: senior"] == len(DIVIDED)
    live.answer(plan, "senior", lambda *_: [choice("decision", "accept"), choice("disease", "tao")])
    pull.pull(build, say=quiet)
    given = read_annotations(build.answers, CLINIC, candidates="c0ffee")
    assert disputes(given) == []
    settled = agree([one for one in given if one.image_id == "virtual-0000"])
    assert (settled.disease, settled.annotators) == ("tao", ("senior",))
    with pytest.raises(UserError, match="divided on no image"):
        push.push(build, settle=True, say=quiet)


def test_proposals_hostile_answers_and_a_deleted_project(live, tmp_path):
    build = make_build(tmp_path, "small", 4, annotators=["annotator-1"], repeated=0.0)
    proposal = painted("annotator-1", "virtual-0002", False)
    Image.fromarray(proposal).save(tmp_path / "virtual-0002.png")
    plan = push.push(build, masks=tmp_path, say=quiet)
    project = plan.projects["annotator-1"]
    tasks = {task["data"]["key"]: task for task in live.tasks(project)}
    task_of = {number: tasks[plan.key(Shown(f"virtual-{number:04d}", False))] for number in range(4)}
    assert [len(task_of[number]["predictions"]) for number in range(4)] == [0, 0, 1, 0]

    kept = task_of[2]["predictions"][0]["result"]
    bomb = mask_region(np.ones((900, 900), bool)) | {"original_width": SHAPE[1], "original_height": SHAPE[0]}
    accepted = [choice("decision", "accept"), choice("disease", "bcc")]
    script = {"type": "textarea", "from_name": "notes", "to_name": "image", "value": {"text": ["<script>1</script>"]}}
    said = {0: [*accepted, bomb], 1: [*accepted, script], 2: [*accepted, *kept], 3: [choice("disease", "measles")]}
    with live.log_in("annotator-1") as client:
        for number, result in said.items():
            url = f"/api/tasks/{task_of[number]['id']}/annotations/"
            client.post(url, json={"result": result}).raise_for_status()
    lines = []
    pull.pull(build, say=lines.append)
    assert len(lines) == 3
    assert any("the mask is not of 56 x 40 pixels" in line for line in lines)
    assert any("notes hold markup" in line for line in lines)
    assert any("neither accepted nor rejected" in line for line in lines)
    given = {one.image_id: one for one in read_annotations(build.answers, CLINIC, candidates="c0ffee")}
    assert set(given) == {"virtual-0001", "virtual-0002"}
    assert np.array_equal(read_mask(build.answers, given["virtual-0002"]), proposal)

    live.admin.delete(f"/api/projects/{project}/").raise_for_status()
    table = (build.answers / TABLE).read_bytes()
    lines = []
    pull.pull(build, say=lines.append)
    assert f"project {project} was deleted" in lines[0]
    assert "what was pulled before is kept" in lines[0]
    assert (build.answers / TABLE).read_bytes() == table
    with pytest.raises(UserError, match=f"project {project} of annotator-1 was deleted .*--recreate"):
        push.push(build, say=quiet)
    plan = push.push(build, recreate=True, say=quiet)
    assert len(live.tasks(plan.projects["annotator-1"])) == 4
    pull.pull(build, say=quiet)
    assert (build.answers / TABLE).read_bytes() == table


def test_a_server_of_someone_else_gets_the_images_uploaded(live, tmp_path, monkeypatch):
    monkeypatch.setenv("MEMA_LABEL_STUDIO", str(tmp_path / "elsewhere"))
    monkeypatch.setenv(access.URL, live.url)
    monkeypatch.setenv(access.TOKEN, live.token)
    build = make_build(tmp_path, "foreign", 3, annotators=["guest"], repeated=0.0)
    push.push(build, say=quiet)
    plan = push.push(build, say=quiet)
    images = {face.record.image_id: face.image for face in ImageSet.open(build.filtered / KEPT).faces()}
    tasks = live.tasks(plan.projects["guest"])
    assert len(tasks) == 3
    for task in tasks:
        content = live.admin.get(task["data"]["image"]).raise_for_status().content
        shown = next(one for one in plan.queue("guest") if plan.key(one) == task["data"]["key"])
        with Image.open(io.BytesIO(content)) as image:
            assert np.array_equal(np.asarray(image), images[shown.image_id])
    assert "guest@example.org" in (tmp_path / "elsewhere" / access.PASSWORDS).read_text()


def test_another_plan_is_refused(pushed):
    build, _ = pushed
    changed = build.config_path.read_text().replace("adjudicators:", "seed: 9\n  adjudicators:")
    path = build.config_path.with_name("changed.yaml")
    path.write_text(changed)
    with pytest.raises(UserError, match="pushed before with other seed"):
        push.push(type(build).load(path), say=quiet)


def test_the_commands_say_what_they_did(pulled):
    build, _, _ = pulled
    done = run_command(build, "annotate", "pull")
    assert done.returncode == 0, done.stderr
    assert f"round 0, annotator-1: {TASKS} of {TASKS} answered" in done.stdout
    done = run_command(build, "annotate", "agreement")
    assert done.returncode == 0, done.stderr
    assert "## Two by two (Cohen)" in done.stdout
    assert json.loads((build.answers / "agreement.json").read_text())["images"] == COUNT
