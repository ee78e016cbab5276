"""The page, as text and in a real browser."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from benchmark.board import Board
from benchmark.leaderboard.build import build_leaderboard
from benchmark.leaderboard.examples import choose
from benchmark.leaderboard.page import render_pages
from benchmark.leaderboard.plot import HEIGHT, WIDTH, Value, make_plot
from mema.build import Build
from mema.errors import UserError
from mema.records import FaceRecord
from mema.result import Failure, Interval, Method, Result


@pytest.fixture(scope="module")
def page_path(build: Build, results: dict[str, Result]) -> Path:
    return build_leaderboard(build)


@pytest.fixture(scope="module")
def board(build: Build, results: dict[str, Result]) -> Board:
    return Board.of(build)


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


def write_pages(folder: Path, results: list[Result], board: Board) -> Path:
    for name, text in render_pages(results, board).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


def crowded(results: list[Result], board: Board) -> tuple[list[Result], Board]:
    """The same scores four times, of 64 people of whom every other one is a man, and every third is old."""
    people = 4 * len(board.image_ids)

    def copies(values: list[Any]) -> list[Any]:
        return [f"{value}-{copy}" for copy in range(4) for value in values]

    ids = {"image_ids": copies(board.image_ids), "subject_ids": copies(board.subject_ids)}
    groups: dict[str, list[str | None]] = {
        "gender": ["female", "male"] * (people // 2),
        "age": (["from 65", "40 to 64", "18 to 39"] * people)[:people],
    }
    crowd = board.model_copy(update={**ids, "diseases": board.diseases * 4, "groups": groups})
    return [
        result.model_copy(update={**ids, "scores": {name: column * 4 for name, column in result.scores.items()}})
        for result in results
    ], crowd


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
    everything = {file: file.read_bytes() for file in page_path.parent.rglob("*") if file.is_file()}
    assert build_leaderboard(build).read_bytes() == before
    assert {file: file.read_bytes() for file in page_path.parent.rglob("*") if file.is_file()} == everything


def test_sorts_by_every_column_and_back(page_path: Path, open_page: Any, results: dict[str, Result]) -> None:
    page = open_page(page_path)
    ranks = [int(rank) for rank in column(page, "Rank")]
    assert ranks == sorted(ranks)
    for title in page.locator("#ranks thead th:visible button").all_inner_texts():
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


def test_a_view_shows_the_columns_of_a_table(page_path: Path, open_page: Any, results: dict[str, Result]) -> None:
    """The paper's Table 5 is the overview's table with other columns; the numbers stay in their rows."""
    page = open_page(page_path)
    visible = page.locator("#ranks thead th:visible button")
    overview = visible.all_inner_texts()
    page.get_by_role("button", name="Identity distance").click()
    parts = [f"ID-Dis {name}" for name in ("dlib", "phantom-sphereface")]
    assert visible.all_inner_texts() == ["Method", "Rank", "Ties", "ID-Dis", *parts]
    for name, value in zip(column(page, "Method"), column(page, parts[0]), strict=True):
        assert float(value) == results[name].metric("identity_distance.dlib").value
    assert page.locator("#ranks tbody tr").first.locator("td:visible").count() == len(visible.all()) - 1
    page.get_by_role("button", name="Disease Table 3").click()
    assert len(visible.all()) == 4 + 8
    page.get_by_role("button", name="Overview").click()
    assert visible.all_inner_texts() == overview


def test_ranks_are_shown_for_every_wish(page_path: Path, open_page: Any, results: dict[str, Result]) -> None:
    page = open_page(page_path)
    rows = page.locator("#profile-ranks tbody tr")
    assert rows.count() == len(results)
    for profile in range(page.locator("#profile-ranks thead th.number").count()):
        ranks = [int(row.locator("td").nth(profile).inner_text().split()[0]) for row in rows.all()]
        assert min(ranks) == 1 and max(ranks) <= len(results)


def test_every_method_has_its_page_and_downloads(page_path: Path, open_page: Any, results: dict[str, Result]) -> None:
    page = open_page(page_path)
    page.get_by_role("link", name="pixelate").first.click()
    assert page.url.endswith("/methods/pixelate.html")
    assert page.locator("h1").inner_text() == "pixelate"
    assert "all 16 images were delivered" in page.locator("main").inner_text()
    assert "blocks = 12" in page.locator("header").inner_text()
    pictures = page.locator(".cases img")
    assert pictures.count() % 2 == 0 and pictures.count() > 0
    assert pictures.evaluate_all("all => all.every(picture => picture.complete && picture.naturalWidth > 0)")
    assert page.locator(".panels svg").count() == 2
    links = page.locator("a[download]").evaluate_all("all => all.map(link => link.href)")
    assert [Path(link).name for link in links] == ["pixelate.csv", "pixelate.json"]
    folder = page_path.parent
    assert Result.load(folder / "methods" / "pixelate.json") == results["pixelate"]
    with (folder / "methods" / "pixelate.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["image_id"] for line in lines] == results["pixelate"].image_ids
    assert [float(line["privacy"]) for line in lines] == results["pixelate"].scores["privacy"]
    with (folder / "ranking.csv").open(newline="") as file:
        ranking = {line["method"]: line for line in csv.DictReader(file)}
    assert set(ranking) == set(results)
    assert float(ranking["pixelate"]["utility_low"]) == results["pixelate"].metric("utility").interval.low
    ranked = json.loads((folder / "ranking.json").read_text())
    assert [one["standing"]["rank"] for one in ranked["methods"]] == [int(ranking[m]["rank"]) for m in ranking]


@pytest.mark.parametrize("width", [390, 1280])
def test_a_method_page_fits_every_window(page_path: Path, open_page: Any, width: int) -> None:
    page = open_page(page_path.parent / "methods" / "gaussian_blur.html", width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_failures_stand_by_reason(results: dict[str, Result], board: Board, tmp_path: Path, open_page: Any) -> None:
    ids = board.image_ids
    failures = [Failure(image_id=image_id, reason="no answer within 5 s") for image_id in ids[:9]]
    failures.append(Failure(image_id=ids[9], reason="returned 3 images for 4"))
    broken = results["pixelate"].model_copy(update={"failures": failures})
    page = open_page(write_pages(tmp_path, [broken, results["blackout"]], board) / "methods" / "pixelate.html")
    rows = page.locator("#reasons tbody tr").all_inner_texts()
    assert [re.split(r"\s*\t\s*", row)[:2] for row in rows] == [
        ["9", "no answer within 5 s"], ["1", "returned 3 images for 4"],
    ]  # fmt: skip
    assert "10 of 16 images failed" in page.locator("header").inner_text()


def test_a_hostile_result_stays_text(results: dict[str, Result], board: Board, tmp_path: Path, open_page: Any) -> None:
    attack = "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>"
    parameters = {attack: attack, "nested": {attack: [attack, None], "on": True}}
    changed = results["pixelate"].model_copy(
        update={
            "method": Method(name=attack, revision=attack, reversible=True, prior=attack, parameters=parameters),
            "hardware": attack,
            "git_hash": attack,
            "failures": [Failure(image_id=board.image_ids[0], reason=attack)],
        }
    )
    metrics = [
        metric.model_copy(update={"per_class": {**metric.per_class, attack: 0.5}} if metric.per_class else {})
        for metric in changed.metrics
    ]
    changed = changed.model_copy(update={"metrics": metrics})
    folder = write_pages(tmp_path, [changed, results["blackout"]], board)
    page = open_page(folder / "index.html")
    assert page.title() != "owned"
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1
    assert attack in page.locator("#ranks tbody").inner_text()
    page.locator("#ranks a.method", has_text=attack).click()
    page.wait_for_url("**/methods/*.html")
    assert page.title() != "owned"
    assert page.locator("img, script").count() == 0
    assert page.locator("h1").inner_text() == attack
    assert attack in page.locator("#reasons").inner_text()
    page.locator("summary", has_text="2 groups of settings").click()
    assert f"{attack} = {attack}, nested = ({attack} = {attack} None, on = yes)" in page.locator("body").inner_text()
    assert all(file.is_relative_to(folder) and "<" not in file.name for file in folder.rglob("*"))


@pytest.mark.parametrize("width", [390, 1280])
def test_what_people_differ_in_is_shown(
    results: dict[str, Result], board: Board, tmp_path: Path, open_page: Any, width: int
) -> None:
    hostile = results["pixelate"].model_copy(
        update={"method": results["pixelate"].method.model_copy(update={"name": "<b>=1</b>"})}
    )
    crowd, people = crowded([results["gaussian_blur"], results["eye_bar"], hostile], board)
    folder = write_pages(tmp_path, crowd, people)
    page = open_page(folder / "index.html", width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    heads = page.locator("#gaps thead tr").nth(1).locator("th").all_inner_texts()
    assert heads == ["gender", "age", "crossings"] * 2
    rows = page.locator("#gaps tbody tr")
    assert sorted(row.locator("th").inner_text() for row in rows.all()) == ["<b>=1</b>", "eye_bar", "gaussian_blur"]
    page.locator("#gaps a", has_text="eye").click()
    assert page.url.endswith("methods/eye_bar.html#people")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    utility = np.array(crowd[1].scores["utility"])
    shown = {
        row.locator("th").inner_text(): row.locator("td").nth(1)
        for row in page.locator("#people-single tbody tr").all()
    }
    assert shown["male"].inner_text() == f"{100 * utility[1::2].mean():.1f}"
    assert shown["from 65"].inner_text() == f"{100 * utility[::3].mean():.1f}"
    gap = 100 * abs(utility[1::2].mean() - utility[::2].mean())
    assert shown["Gap by gender"].inner_text() == f"{gap:.1f}"
    page.locator("summary", has_text="Crossings").click()
    crossed = page.locator("#people-crossed")
    assert crossed.locator("tbody tr").count() == 6 + 1
    assert "Gap by gender × age" in crossed.inner_text() and "female, from 65" in crossed.inner_text()
    for name in ("fairness-groups.csv", "fairness-gaps.csv"):
        lines = list(csv.DictReader((folder / name).open(newline="")))
        assert {line["method"] for line in lines} == {"<b>=1</b>", "eye_bar", "gaussian_blur"}
        assert {"utility", "privacy", "identity_distance", "agreement"} <= {line["score"] for line in lines}
    assert json.loads((folder / "fairness.json").read_text())["least_people"] == 10


def test_groups_that_are_too_small_or_unknown_are_said_so(results: dict[str, Result], board: Board) -> None:
    unknown: dict[str, list[str | None]] = {"gender": [None] * len(board.image_ids)}
    for groups, said in ((unknown, "No two groups of at least 10"), ({}, "does\nnot say to which groups")):
        pages = render_pages([results["eye_bar"]], board.model_copy(update={"groups": groups}))
        assert said in pages["index.html"] and said in pages["methods/eye_bar.html"]


def test_readers_and_their_verdict_stand_on_the_page(page_path: Path, open_page: Any) -> None:
    page = open_page(page_path.parent / "methods" / "blackout.html", 390)
    rows = page.locator("#reader-table tbody tr")
    assert [row.locator("th").inner_text() for row in rows.all()] == [
        "What most say",
        *(f"machine-{i}" for i in (1, 2, 3)),
    ]
    assert {row.locator("td").last.inner_text() for row in rows.all()} <= {"non-inferior", "inferior", "undecided"}
    assert "Read by machines" in page.locator("main").inner_text()
    page = open_page(page_path)
    page.get_by_role("button", name="Clinical agreement Table 4").click()
    assert "Cohen's κ" in page.locator("#ranks thead th:visible button").all_inner_texts()


def test_no_cell_of_a_download_is_a_formula(results: dict[str, Result], board: Board) -> None:
    named = results["pixelate"].method.model_copy(update={"name": "=HYPERLINK(1)", "revision": "@1"})
    files = render_pages([results["pixelate"].model_copy(update={"method": named}), results["blackout"]], board)
    cells = [cell for line in csv.reader(io.StringIO(files["ranking.csv"])) for cell in line]
    assert "'=HYPERLINK(1)" in cells and "'@1" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "@"))]


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


def test_one_method_alone_makes_a_page(results: dict[str, Result], board: Board) -> None:
    page = render_pages([results["eye_bar"]], board)["index.html"]
    assert "What 1 de-identification method\nkeeps" in page


def test_a_release_of_people_is_not_called_phantom(results: dict[str, Result], board: Board) -> None:
    people = board.model_copy(update={"phantom": False, "machine_annotated": False})
    for page in render_pages([results["eye_bar"]], people).values():
        assert "The faces are phantoms" not in page
        assert "Not a clinical result" not in page


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
