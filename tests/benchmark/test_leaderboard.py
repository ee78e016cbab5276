"""The page, as text and in a real browser."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from benchmark.leaderboard.build import build_leaderboard
from benchmark.leaderboard.examples import choose
from benchmark.leaderboard.page import Subject, render_page
from benchmark.leaderboard.plot import HEIGHT, WIDTH, Value, make_plot
from benchmark.leaderboard.submissions import submit
from mema.build import Build
from mema.errors import UserError
from mema.records import FaceRecord
from mema.result import Interval, Method, Result

PHANTOMS = Subject(phantom=True, machine_annotated=True, disease_name=lambda code: code)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def page_path(build: Build, results: dict[str, Result]) -> Path:
    return build_leaderboard(build)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        if os.environ.get("MEMA_REQUIRE_CHROMIUM") == "1":
            pytest.fail("MEMA_REQUIRE_CHROMIUM=1, but no chromium is installed (apt-get install chromium)")
        pytest.skip("no chromium is installed (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Open a file in a window of a given width; the test fails on any message, error or request to a host."""
    contexts, complaints = [], []

    def visit(path: Path, width: int = 1280, **options: Any) -> Any:
        contexts.append(browser.new_context(viewport={"width": width, "height": 844}, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if is_remote(request.url) else None)
        page.goto(path.as_uri())
        return page

    def is_remote(url: str) -> bool:
        return not url.startswith(("file:", "data:"))

    yield visit
    for context in contexts:
        context.close()
    assert complaints == []


def column(page: Any, head: str) -> list[str]:
    """Return the sort values of the column whose head is ``head``, from top to bottom."""
    heads = page.locator("#ranks thead th button").all_inner_texts()
    cells = page.locator(f"#ranks tbody tr > :nth-child({heads.index(head) + 1})")
    return [cell.get_attribute("data-value") for cell in cells.all()]


def test_says_what_was_measured(page_path: Path, results: dict[str, Result]) -> None:
    page = page_path.read_text()
    first = results["blackout"]
    assert "Not a clinical result" in page
    assert "phantoms" in page
    assert first.release.digest in page
    assert f"{first.protocol.name} {first.protocol.version}" in page
    assert "closed gallery" in page
    for name in results:
        assert page.count(f'data-value="{name}"') == 1
    assert not re.search(r"https?://", page)


def test_the_same_results_give_the_same_page(build: Build, page_path: Path) -> None:
    before = page_path.read_bytes()
    assert build_leaderboard(build).read_bytes() == before


def test_sorts_by_every_column_and_back(page_path: Path, open_page: Any, results: dict[str, Result]) -> None:
    page = open_page(page_path)
    ranks = [int(rank) for rank in column(page, "Rank")]
    assert ranks == sorted(ranks)
    for title in page.locator("#ranks thead th button").all_inner_texts():
        head = page.locator("#ranks thead th", has=page.get_by_role("button", name=title, exact=True))
        orders = []
        for _ in range(2):
            head.get_by_role("button").click()
            orders.append(head.get_attribute("aria-sort"))
            values: list[Any] = column(page, title)
            if title != "Method":
                values = [float(value) for value in values]
            assert values == sorted(values, reverse=orders[-1] == "descending"), title
        assert sorted(orders) == ["ascending", "descending"]
        assert page.locator("#ranks th:not([aria-sort=none])[aria-sort]").count() == 1
    head = page.locator("#ranks thead th", has_text="Utility")
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    utilities = [float(value) for value in column(page, "Utility")]
    assert utilities[0] == max(result.metric("utility").value for result in results.values())


@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_every_window(page_path: Path, open_page: Any, width: int, scheme: str) -> None:
    page = open_page(page_path, width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    lightness = sum(map(int, re.findall(r"\d+", background)[:3])) / 3
    assert (lightness > 128) == (scheme == "light")
    # What the page is too narrow for scrolls in its own box, and the first column stays in sight.
    box = page.locator(".scroll").first
    box.evaluate("box => box.scrollLeft = box.scrollWidth")
    name = page.locator("#ranks tbody th").first.bounding_box()
    assert name["x"] >= 0
    assert name["x"] + name["width"] < width


def test_every_method_is_a_point_in_the_plot(page_path: Path, open_page: Any, results: dict[str, Result]) -> None:
    page = open_page(page_path)
    assert page.locator("svg .point circle").count() == len(results)
    labels = set(page.locator("svg .point .label").all_text_contents())
    assert labels == set(results)
    frame = page.locator("svg").bounding_box()
    for point in page.locator("svg .point circle").all():
        box = point.bounding_box()
        assert frame["x"] <= box["x"] <= frame["x"] + frame["width"]
        assert frame["y"] <= box["y"] <= frame["y"] + frame["height"]


def test_the_same_faces_stand_beside_each_other(page_path: Path, open_page: Any, results: dict[str, Result]) -> None:
    page = open_page(page_path)
    rows = page.locator(".pictures tbody tr")
    assert rows.count() == len(results) + 1
    pictures = page.locator(".pictures img")
    assert pictures.count() == 8 * (len(results) + 1)
    assert pictures.evaluate_all("all => all.every(picture => picture.complete && picture.naturalWidth > 0)")
    first, second = rows.nth(0).locator("img"), rows.nth(1).locator("img")
    assert rows.nth(1).locator("th").inner_text() == "pass_through"
    assert [i.get_attribute("src") for i in first.all()] == [i.get_attribute("src") for i in second.all()]


def test_a_hostile_result_stays_text(results: dict[str, Result], tmp_path: Path, open_page: Any) -> None:
    attack = "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>"
    changed = results["pixelate"].model_copy(
        update={
            "method": Method(name=attack, revision=attack, reversible=True, prior=attack, parameters={attack: attack}),
            "hardware": attack,
            "git_hash": attack,
        }
    )
    metrics = [
        metric.model_copy(update={"per_class": {**metric.per_class, attack: 0.5}} if metric.per_class else {})
        for metric in changed.metrics
    ]
    changed = changed.model_copy(update={"metrics": metrics})
    path = tmp_path / "index.html"
    path.write_text(render_page([changed, results["blackout"]], PHANTOMS, None, draws=200, seed=0))
    page = open_page(path)
    assert page.title() != "owned"
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1
    assert attack in page.locator("#ranks tbody").inner_text()


@pytest.mark.parametrize("with_policy", [True, False])
def test_the_policy_stops_what_would_get_through(
    page_path: Path, tmp_path: Path, browser: Any, with_policy: bool
) -> None:
    """Even markup that is in the page cannot run or load; without the policy it could."""
    asked: list[str] = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    Thread(target=server.serve_forever, daemon=True).start()
    picture = f"<img src='http://127.0.0.1:{server.server_port}/x.png'>"
    text = page_path.read_text().replace("</main>", f"<script>document.title='owned'</script>{picture}</main>")
    if not with_policy:
        text = text.replace("Content-Security-Policy", "x-nothing")
    path = tmp_path / "index.html"
    path.write_text(text)
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(path.as_uri())
        assert (page.title() == "owned") == (not with_policy)
        assert asked == ([] if with_policy else ["/x.png"])
    finally:
        context.close()
        server.shutdown()
        server.server_close()


def test_one_method_alone_makes_a_page(results: dict[str, Result]) -> None:
    page = render_page([results["eye_bar"]], PHANTOMS, None, draws=200, seed=0)
    assert "What 1 de-identification method\nkeeps" in page


def test_a_release_of_people_is_not_called_phantom(results: dict[str, Result]) -> None:
    people = Subject(phantom=False, machine_annotated=False, disease_name=lambda code: code)
    page = render_page([results["eye_bar"]], people, None, draws=200, seed=0)
    assert "phantoms" not in page.replace(results["eye_bar"].release.name, "")
    assert "Not a clinical result" not in page


def test_numbers_that_are_none_are_refused(results: dict[str, Result]) -> None:
    result = results["eye_bar"]
    metrics = [result.metrics[0].model_copy(update={"value": float("nan")}), *result.metrics[1:]]
    with pytest.raises(UserError, match="not a finite number"):
        render_page([result.model_copy(update={"metrics": metrics})], PHANTOMS, None, draws=200, seed=0)


def test_a_build_without_results_says_what_to_run(build: Build, results: dict[str, Result], tmp_path: Path) -> None:
    text = build.config_path.read_text().replace(str(build.runs), str(tmp_path / "runs"))
    (tmp_path / "build.yaml").write_text(text)
    shutil.copytree(build.release, tmp_path / "runs" / "release")
    other = Build.load(tmp_path / "build.yaml")
    with pytest.raises(UserError, match="mema benchmark run"):
        build_leaderboard(other)
    stale = results["blackout"].model_copy(
        update={"release": results["blackout"].release.model_copy(update={"digest": "other"})}
    )
    stale.save(other.benchmark / "blackout" / "result.json")
    with pytest.raises(UserError, match="another release"):
        build_leaderboard(other)


def test_a_result_that_is_handed_in_gets_a_row(build: Build, results: dict[str, Result], tmp_path: Path) -> None:
    theirs = renamed(results["pixelate"], "theirs")
    path = theirs.save(tmp_path / "result.json")
    shelf = tmp_path / "shelf"
    kept = submit(path, shelf)
    assert kept == shelf / "test-phantoms-0.1.0" / "theirs.json"
    page = build_leaderboard(build, shelf).read_text()
    assert 'data-value="theirs"' in page
    build_leaderboard(build)


def test_a_result_must_follow_from_its_own_scores(results: dict[str, Result], tmp_path: Path) -> None:
    honest = renamed(results["pixelate"], "theirs")
    rosy = [metric.model_copy(update={"value": 0.99}) for metric in honest.metrics]
    for change, message in [
        ({"metrics": rosy}, "not the mean of its per-image scores"),
        ({"metrics": honest.metrics[1:]}, "has no metric 'balanced'"),
        ({"method": honest.method.model_copy(update={"name": "../../theirs"})}, "cannot be a name"),
        ({"release": honest.release.model_copy(update={"version": ".."})}, "cannot be a name"),
    ]:
        path = honest.model_copy(update=change).save(tmp_path / "result.json")
        with pytest.raises(UserError, match=message):
            submit(path, tmp_path / "shelf")
    submit(honest.save(tmp_path / "result.json"), tmp_path / "shelf")
    other_rules = honest.protocol.model_copy(update={"version": "0"})
    second = renamed(honest.model_copy(update={"protocol": other_rules}), "second")
    with pytest.raises(UserError, match="differ in protocol"):
        submit(second.save(tmp_path / "result.json"), tmp_path / "shelf")


def renamed(result: Result, name: str) -> Result:
    return result.model_copy(update={"method": result.method.model_copy(update={"name": name})})


def test_labels_of_crowded_points_do_not_cover_each_other() -> None:
    interval = Interval(low=0.9, high=1.0)
    values = [Value(f"method_{i}", 0.97 + 0.004 * i, interval, 0.02 * i, None) for i in range(5)]
    plot = make_plot(values)
    boxes = []
    for point in plot.points:
        left = point.label_x if point.anchor == "start" else point.label_x - 7 * len(point.label)
        boxes.append((left, point.label_y - 12, left + 7 * len(point.label), point.label_y))
        assert left > 0
        assert left + 7 * len(point.label) < WIDTH
        assert 0 < point.label_y < HEIGHT
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]
    assert [point.best for point in plot.points] == [False] * 4 + [True]


def test_examples_take_the_diseases_in_turn() -> None:
    records = [
        FaceRecord(image_id=f"{disease}{i}", subject_id="s", disease=disease)
        for disease, count in {"b": 3, "a": 1, "c": 2}.items()
        for i in range(count)
    ]
    assert [record.image_id for record in choose(records, 4)] == ["a0", "b0", "b1", "c0"]
    assert len(choose(records, 50)) == 6
