"""From ``mema annotate serve`` to a release: three physicians answer by API and one in a real Chromium."""

import json
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

import numpy as np
import pytest
import yaml
from label_studio_world import PHYSICIANS, ROOT, SHAPE, choice, make_build, run_command
from release_world import configure, curate, face
from sam_weights import write_transformers

from curation.filter import KEPT
from curation.labelstudio.pull import NOTES_FILE
from curation.labelstudio.push import mask_region
from curation.labelstudio.rounds import Round, load_rounds
from curation.segmenting.backend import read_prompt
from curation.segmenting.segmenter import Segmenter, load_segmenter
from curation.verification import verify_release
from generation.phantom.population import draw_patient
from generation.phantom.render import render_batch
from mema.annotations import majority_mask, read_annotations, read_mask
from mema.build import Build
from mema.files import read_json
from mema.imageset import ImageSet
from mema.release import SPLITS, Release
from mema.taxonomy import load_taxonomy

pytestmark = [pytest.mark.slow, pytest.mark.label_studio, pytest.mark.usefixtures("here")]

CLINIC = load_taxonomy("eye_clinic")
*BY_API, BY_HAND = PHYSICIANS
COUNT, SIDE = 48, 128
SETTINGS = {"annotators": list(PHYSICIANS), "repeated": 0.04, "seed": 0}
TASKS = 50  # of each: 48 and, of the share, two again
# What the one at the browser meets first.
FIRST = ("bcc", "ptosis", "normal", "bcc")
NOTE = "no iris on the left, \u201esmeared\u201c <b>"
LAPTOP = {"width": 1366, "height": 768}


def first_shown() -> list[str]:
    names = tuple(f"virtual-{number:04d}" for number in range(COUNT))
    size = {"height": SIDE, "width": SIDE}
    plan = Round(number=0, candidates="", images=names, per_image=len(PHYSICIANS), **size, **SETTINGS)
    return [shown.image_id for shown in plan.queue(BY_HAND)[: len(FIRST)]]


def make_review(folder) -> tuple[Build, dict[str, np.ndarray]]:
    """A build with faces where somebody looks and noise where nobody does; the tumours of the faces, by image."""
    first = dict(zip(first_shown(), FIRST, strict=True))
    cases = [
        draw_patient("tests", "eye_clinic", number, 0, disease=disease, severity=0.9, photos=(1, 1))
        for number, disease in enumerate(FIRST)
    ]
    jobs = [(case.subject, case.shots[0], case.finding) for case in cases]
    photos = dict(zip(first, render_batch(jobs, size=SIDE), strict=True))
    chosen = []
    for number in range(COUNT):
        one = face(number, image=np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
        name = one.record.image_id
        if name in photos:
            record = one.record.model_copy(update={"disease": first[name]})
            one = one._replace(record=record, image=photos[name].image)
        chosen.append(one)
    build = configure(folder, "1.0.0")
    values = yaml.safe_load(build.config_path.read_text())
    values |= {"size": SIDE, "annotate": {"by": "physicians"}, "label_studio": SETTINGS}
    build.config_path.write_text(yaml.safe_dump(values))
    build = Build.load(build.config_path)
    curate(build, chosen, ())
    shutil.rmtree(build.annotations)
    return build, {name: photo.lesion for name, photo in photos.items()}


def said_by_api(build: Build, poor: str):
    """What the others say: the truth of every image, but for some errors; all reject the image ``poor``."""
    truth = {record.image_id: record.disease for record in ImageSet.open(build.candidates).records()}

    def say(name: str, image_id: str, again: bool) -> list:
        if image_id == poor:
            return [choice("decision", "reject"), choice("reason", "artefact")]
        disease = truth[image_id]
        if name == "dr-b" and int(image_id[-4:]) % 9 == 0:
            disease = "uveitis"
        said = [choice("decision", "accept"), choice("disease", disease), choice("severity", "mid")]
        return [*said, mask_region(block())] if disease == "bcc" else said

    return say


def block() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[40:60, 30:50] = True
    return mask


def zigzag(lesion: np.ndarray) -> Iterator[tuple[float, float]]:
    """A stroke over a mask, in pixels (x, y): every third row, to and fro, off the edge by the brush's radius."""
    rows = np.flatnonzero(lesion.any(1))
    for turn, row in enumerate(range(rows[0] + 1, rows[-1], 3)):
        columns = np.flatnonzero(lesion[row])
        ends = (columns[0] + 1.5, columns[-1] - 0.5)
        yield from ((x, row + 0.5) for x in (ends if turn % 2 else ends[::-1]))


class Desk:
    """A physician before a screen; each ``look`` leaves a picture in ``pictures``."""

    def __init__(self, browser, url: str, pictures, width: int = SIDE) -> None:
        self.page = browser.new_page(viewport=LAPTOP)
        self.page.set_default_timeout(60_000)
        self.hosts: set[str] = set()
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.url, self.pictures, self.width = url, pictures, width
        pictures.mkdir()

    def look(self, name: str) -> None:
        number = len(list(self.pictures.iterdir()))
        self.page.screenshot(path=self.pictures / f"{number:02d}-{name}.png")

    def log_in(self, email: str, password: str) -> None:
        self.page.goto(self.url)
        self.page.fill("input[name=email]", email)
        self.page.fill("input[name=password]", password)
        self.look("login")
        self.page.click("button[type=submit]")

    def open_queue(self, title: str) -> None:
        self.page.get_by_text(title, exact=True).first.click()
        start = self.page.get_by_role("button", name="Label All Tasks")
        start.wait_for()
        self.look("project")
        start.click()
        self.page.locator("button[name=submit]").wait_for()
        instructions = self.page.get_by_text("1. Accept or reject.")
        instructions.wait_for()
        self.look("instructions")
        self.page.keyboard.press("Escape")
        instructions.wait_for(state="hidden")

    def wait_for(self, task: int) -> None:
        """Until the picture of ``task`` is there to be painted on."""
        number = "document.querySelector('.lsf-current-task__task-id')?.firstChild.textContent"
        self.page.wait_for_function(f"{number} === '{task}' && document.querySelector('img[alt=image]')?.complete")
        self.page.locator(".lsf-image").wait_for()

    def choose(self, *names: str) -> None:
        for name in names:
            self.page.locator(f"label:has(input[name='{name}'])").click()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def on_screen(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the picture, in its pixels, is."""
        box = self.page.locator(".lsf-image").bounding_box()
        scale = box["width"] / self.width
        return box["x"] + x * scale, box["y"] + y * scale

    def paint(self, stroke: Iterator[tuple[float, float]]) -> None:
        points = [self.on_screen(x, y) for x, y in stroke]
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        for point in points:
            self.page.mouse.move(*point, steps=3)
        self.page.mouse.up()

    def submit(self, key: str | None = None) -> None:
        with self.page.expect_response(lambda one: "/annotations" in one.url and one.request.method == "POST") as sent:
            if key:
                self.page.keyboard.press(key)
            else:
                self.page.click("button[name=submit]")
        assert sent.value.ok


def run(build: Build, *arguments: str) -> str:
    done = run_command(build, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def work_at_the_browser(desk: Desk, live, plan: Round, tumours: dict[str, np.ndarray]) -> None:
    """Four pictures: by mouse, by keyboard, rejected, and painted by keyboard."""
    tasks = sorted(task["id"] for task in live.tasks(plan.projects[BY_HAND]))
    tumour, _, _, other = (tumours[image_id] for image_id in first_shown())
    desk.log_in(f"{BY_HAND}@example.org", live.password(BY_HAND))
    desk.open_queue(f"small, round 0: {BY_HAND}")
    desk.wait_for(tasks[0])
    desk.look("picture")
    desk.choose("accept", "basal cell carcinoma", "heavy")
    desk.page.locator(".lsf-label", has_text="tumor").click()
    desk.paint(zigzag(tumour))
    desk.look("painted")
    desk.submit()

    desk.wait_for(tasks[1])
    desk.press("a", "Control+Enter")
    desk.page.get_by_text("Please choose: disease.").wait_for()
    desk.look("something is missing")
    desk.page.get_by_role("button", name="OK").click()
    desk.press("4", "p")
    desk.look("by keyboard")
    desk.submit("Control+Enter")

    desk.wait_for(tasks[2])
    desk.press("x", "g")
    desk.page.fill("textarea", NOTE)
    desk.look("rejected")
    desk.submit()

    desk.wait_for(tasks[3])
    desk.press("a", "1", "i", "t")
    desk.paint(zigzag(other))
    desk.look("painted again")
    desk.submit("Control+Enter")

    desk.page.goto(f"{desk.url}/projects")
    desk.page.get_by_text(f"{len(FIRST)} / {TASKS}", exact=True).wait_for()
    desk.look("how far along")
    assert {host for host in desk.hosts if host} == {urlsplit(desk.url).netloc}


def test_four_physicians_make_a_release(live, browser, tmp_path):
    build, tumours = make_review(tmp_path)
    poor = first_shown()[2]
    said = run(build, "annotate", "push")
    assert said.count(f"{TASKS} tasks, {TASKS} of them new") == len(PHYSICIANS)
    (plan,) = load_rounds(build.label_studio)
    say = said_by_api(build, poor)
    for name in BY_API:
        live.answer(plan, name, say)
    work_at_the_browser(Desk(browser, live.url, tmp_path / "pictures"), live, plan, tumours)

    # Before everyone is through there is no release.
    assert f"round 0, {BY_HAND}: {len(FIRST)} of {TASKS} answered" in run(build, "annotate", "pull")
    run(build, "curate", "annotate")
    refused = run_command(build, "release", "build")
    assert refused.returncode == 2
    assert f"{TASKS - len(FIRST)} answers are open, the first are those of {BY_HAND}" in refused.stderr

    given = {one.image_id: one for one in read(build) if one.annotator == BY_HAND}
    shown = first_shown()
    assert [(given[name].accept, given[name].disease, given[name].severity) for name in shown] == [
        (True, "bcc", "heavy"),
        (True, "ptosis", "heavy"),
        (False, None, None),
        (True, "bcc", "slight"),
    ]
    assert given[poor].reason == "artefact"
    assert all(0 < given[name].lead_time_s < 600 for name in shown)
    (remark,) = read_json(build.label_studio / NOTES_FILE)
    assert (remark["annotator"], remark["image_id"], remark["notes"]) == (BY_HAND, poor, NOTE)
    for name in (shown[0], shown[3]):
        mask = read_mask(build.answers, given[name])
        assert np.sum(mask & tumours[name]) / np.sum(mask | tumours[name]) > 0.6

    live.answer(plan, BY_HAND, say)
    run(build, "annotate", "pull")
    assert "## Two by two (Cohen)" in run(build, "annotate", "agreement")
    report = json.loads((build.answers / "agreement.json").read_text())
    kappa = {tuple(pair["annotators"]): pair["kappa_reading"] for pair in report["pairs"]}
    assert kappa["dr-a", "dr-c"] == kappa["dr-a", BY_HAND] == 1 > kappa["dr-a", "dr-b"]
    run(build, "curate", "annotate")
    run(build, "release", "build")

    release = Release.open(build.release)
    assert verify_release(build.release) == []
    assert set(release.annotators) == set(PHYSICIANS)
    assert not release.machine_annotated
    faces = {one.record.image_id: one for split in SPLITS for one in release.imageset(split).faces()}
    truth = Counter(record.disease for record in ImageSet.open(build.candidates).records() if record.image_id != poor)
    assert Counter(one.record.disease for one in faces.values()) == truth
    assert poor not in faces
    drawn = [read_mask(build.answers, one) for one in read(build) if one.image_id == shown[0]]
    assert np.array_equal(faces[shown[0]].mask, majority_mask(drawn))


@pytest.fixture
def smart(tmp_path) -> Iterator[tuple[Build, Segmenter]]:
    """A build whose annotator has a segmenter to ask, which runs; its weights are random."""
    (tmp_path / "sam").mkdir()
    weights = str(write_transformers("sam", tmp_path / "sam"))
    build = make_build(tmp_path, "smart", 1, annotators=[BY_HAND], repeated=0.0, smart=True, segmenter=weights)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = ["-u", "-m", "mema.cli", "annotate", "segmenter", "--config", str(build.config_path), "--port", port]
    with subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True) as serving:
        assert f"http://127.0.0.1:{port}" in serving.stdout.readline()
        yield build, load_segmenter(weights)
        serving.terminate()


def test_a_click_paints_what_the_segmenter_outlines(live, browser, smart, tmp_path):
    build, segmenter = smart
    run(build, "annotate", "push")
    (plan,) = load_rounds(build.label_studio)
    desk = Desk(browser, live.url, tmp_path / "pictures", width=SHAPE[1])
    desk.log_in(f"{BY_HAND}@example.org", live.password(BY_HAND))
    desk.open_queue(f"smart, round 0: {BY_HAND}")
    desk.wait_for(live.tasks(plan.projects[BY_HAND])[0]["id"])
    desk.press("a", "1")
    for name in ("Auto-Annotation", "Auto-Accept Suggestions"):
        desk.page.locator("label", has_text=name).click()
    desk.page.locator(".lsf-label", has_text="click").click()
    desk.press("m")
    desk.look("ready to click")
    with desk.page.expect_response("**/interactive-annotating*") as asked:
        desk.page.mouse.click(*desk.on_screen(28.5, 12.5))
    assert asked.value.ok
    # The other one stands in the list of regions.
    desk.page.get_by_text("tumor", exact=True).nth(1).wait_for()
    desk.look("outlined")
    desk.submit("Control+Enter")
    run(build, "annotate", "pull")

    prompt = read_prompt(asked.value.request.post_data_json["context"]["result"], *SHAPE)
    assert prompt.points[0] == pytest.approx((28, 12), abs=1)
    (shown,) = ImageSet.open(build.filtered / KEPT).faces()
    (proposal,) = segmenter.segment(segmenter.embed(shown.image), [prompt])
    (given,) = read_annotations(build.answers, CLINIC, candidates="c0ffee")
    assert proposal.mask.any()
    assert np.array_equal(read_mask(build.answers, given), proposal.mask)


def read(build: Build) -> list:
    candidates = ImageSet.open(build.candidates).digest
    return read_annotations(build.answers, CLINIC, candidates=candidates)
