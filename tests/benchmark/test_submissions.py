"""Handing in: what is kept, what is refused, and the page rendered from what is kept alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmark.board import Board
from benchmark.bundle import read_bundle
from benchmark.leaderboard.build import build_from_shelf, build_leaderboard
from benchmark.leaderboard.submissions import board_for, ranking, submit, submitted
from benchmark.results import BUNDLE, RESULT, read_result, write_result
from benchmark.validation import faults_of_result
from mema.build import Build
from mema.errors import UserError
from mema.result import Failure, Result


@pytest.fixture(scope="module")
def board(build: Build, results: dict[str, Result]) -> Board:
    return Board.of(build)


@pytest.fixture
def theirs(results: dict[str, Result]) -> Result:
    """What somebody hands in: honest, under a name of its own."""
    return renamed(results["pixelate"], "theirs")


def renamed(result: Result, name: str) -> Result:
    return result.model_copy(update={"method": result.method.model_copy(update={"name": name})})


def with_scores(result: Result, change: Callable[[np.ndarray], np.ndarray], *names: str) -> Result:
    changed = {name: change(np.array(result.scores[name])).tolist() for name in names}
    return result.model_copy(update={"scores": result.scores | changed})


def test_what_is_kept_is_all_of_a_result_and_no_face(theirs: Result, board: Board, tmp_path: Path) -> None:
    folder = submit(theirs, board, tmp_path)
    assert folder == tmp_path / "test-phantoms-0.1.0" / "theirs"
    assert {file.name for file in folder.iterdir()} == {RESULT, BUNDLE}
    assert read_result(folder) == theirs
    assert Board.load(folder.parent / "_board.json") == board
    before = {file: file.read_bytes() for file in folder.iterdir()}
    submit(theirs, board, tmp_path)
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    kinds = {str(field.type) for field in pq.read_schema(folder / BUNDLE)}
    assert kinds == {"string", "double"}
    assert b"PNG" not in b"".join(before.values())


def test_a_board_of_before_there_were_groups_still_holds(
    theirs: Result, results: dict[str, Result], board: Board, build: Build, tmp_path: Path
) -> None:
    assert set(board.groups["gender"]) <= {"female", "male"} and len(board.groups["age"]) == len(board.image_ids)
    old = board.model_copy(update={"groups": {}})
    submit(theirs, old, tmp_path)
    assert submitted(board, tmp_path) == [theirs]
    assert "does\nnot say to which groups" in build_from_shelf(tmp_path / "pages", tmp_path)[0].read_text()
    assert board_for(theirs.release, board, tmp_path) == board
    submit(results["blackout"], board, tmp_path)
    assert Board.load(tmp_path / "test-phantoms-0.1.0" / "_board.json") == board


def test_the_ranking_is_derived_from_the_shelf_alone(
    results: dict[str, Result], board: Board, build: Build, tmp_path: Path
) -> None:
    shelf = tmp_path / "shelf"
    for result in results.values():
        submit(result, board, shelf)
    order = [standing.method for standing in ranking(board, shelf)]
    (page,) = build_from_shelf(tmp_path / "pages", shelf)
    assert page == tmp_path / "pages" / "test-phantoms-0.1.0" / "index.html"
    assert 'data-value="pixelate"' in page.read_text() and "<img" not in page.read_text()
    with_pictures = build_leaderboard(build, tmp_path / "no-shelf")
    for name in ("ranking.csv", "ranking.json"):
        assert (page.parent / name).read_bytes() == (with_pictures.parent / name).read_bytes()
    ranked = json.loads((page.parent / "ranking.json").read_text())
    assert [one["method"]["name"] for one in ranked["methods"]] == order


def test_a_result_that_is_handed_in_gets_a_row(build: Build, theirs: Result, board: Board, tmp_path: Path) -> None:
    submit(theirs, board, tmp_path)
    assert 'data-value="theirs"' in build_leaderboard(build, tmp_path).read_text()
    assert 'data-value="theirs"' not in build_leaderboard(build, tmp_path / "other").read_text()


def test_a_shelf_of_another_release_has_no_say(build: Build, theirs: Result, board: Board, tmp_path: Path) -> None:
    """The demo's release differs from machine to machine; what others handed in must not stop anybody's demo."""
    other = board.model_copy(update={"release": board.release.model_copy(update={"digest": "0" * 64})})
    submit(theirs.model_copy(update={"release": other.release}), other, tmp_path)
    assert submitted(board, tmp_path) == []
    assert 'data-value="theirs"' not in build_leaderboard(build, tmp_path).read_text()
    with pytest.raises(UserError, match="of another release than the build"):
        board_for(board.release, board, tmp_path)
    with pytest.raises(UserError, match="--config"):
        board_for(board.release, None, tmp_path / "nothing")


def rosy(result: Result) -> Result:
    return result.model_copy(update={"metrics": [m.model_copy(update={"value": 0.99}) for m in result.metrics]})


def narrow(result: Result) -> Result:
    metrics = [
        m.model_copy(update={"interval": m.interval.model_copy(update={"low": m.value}) if m.interval else None})
        for m in result.metrics
    ]
    return result.model_copy(update={"metrics": metrics})


REFUSED: list[tuple[Callable[[Result], Result], str]] = [
    (rosy, "metric 'balanced' does not follow from the per-image scores: it says 0.99"),
    (narrow, "its interval is"),
    (lambda r: r.model_copy(update={"metrics": r.metrics[1:]}), "there is no metric 'balanced'"),
    (lambda r: with_scores(r, lambda a: a * 0 + 1, "privacy"), "'privacy' does not follow from the scores"),
    (lambda r: with_scores(r, lambda a: a * 0 + 1, "utility", "balanced"), "does not follow"),
    (lambda r: with_scores(r, lambda a: a + 1.5, "identification.dlib"), "leaves its range"),
    (lambda r: with_scores(r, lambda a: a * np.nan, "detection"), "not a finite number"),
    (lambda r: renamed(r, "../../theirs"), "cannot be a method's name"),
    (lambda r: renamed(r, "_board.json"), "cannot be a method's name"),
    (lambda r: r.model_copy(update={"protocol": r.protocol.model_copy(update={"version": "0"})}), "of protocol"),
    (
        lambda r: r.model_copy(update={"release": r.release.model_copy(update={"digest": "f" * 64})}),
        "the result's ffff",
    ),
    (lambda r: r.model_copy(update={"release": r.release.model_copy(update={"version": "9.0.0"})}), "of release"),
    (lambda r: r.model_copy(update={"seeds": [1]}), "its seeds are"),
    (lambda r: r.model_copy(update={"image_ids": r.image_ids[::-1]}), "not in the order"),
    (lambda r: r.model_copy(update={"image_ids": ["x", *r.image_ids[1:]]}), "lacks 1 of 16 images"),
    (lambda r: r.model_copy(update={"subject_ids": ["x"] * 16}), "its subjects are not those"),
    (
        lambda r: r.model_copy(update={"counts": {"images": 16, "subjects": 16, "failures": 3}}),
        "count of failures is 3",
    ),
    (
        lambda r: r.model_copy(
            update={
                "failures": [Failure(image_id=image_id, reason="late") for image_id in r.image_ids],
                "counts": {**r.counts, "failures": 16},
            }
        ),
        "an image that failed has",
    ),
    (lambda r: r.model_copy(update={"hardware": "x" * 500}), "longer than one line"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_does_not_hold_is_refused(
    theirs: Result, board: Board, tmp_path: Path, change: Callable[[Result], Result], message: str
) -> None:
    with pytest.raises(UserError) as raised:
        submit(change(theirs), board, tmp_path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_an_honest_result_has_no_fault(results: dict[str, Result], board: Board) -> None:
    for result in results.values():
        assert faults_of_result(result, board) == []


def test_what_was_changed_in_git_is_noticed(theirs: Result, board: Board, tmp_path: Path) -> None:
    folder = submit(theirs, board, tmp_path / "shelf")
    write_result(rosy(theirs), folder)
    with pytest.raises(UserError, match="does not follow"):
        build_from_shelf(tmp_path / "pages", tmp_path / "shelf")
    submit(theirs, board, tmp_path / "shelf")
    (folder / BUNDLE).write_bytes((folder / BUNDLE).read_bytes() + b" ")
    with pytest.raises(UserError, match="not the bundle"):
        build_from_shelf(tmp_path / "pages", tmp_path / "shelf")
    assert not (tmp_path / "pages").exists()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image_id": ["a"], "subject_id": ["b"], "face": [b"PNG"]}, "column 'face' of binary"),
        ({"image_id": ["a"], "subject_id": ["b"], "note": ["of many words"]}, "column 'note' of string"),
        ({"image_id": ["a" * 200], "subject_id": ["b"], "privacy": [1.0]}, "is no image_id"),
        ({"image_id": ["a"], "privacy": [1.0]}, "no column 'subject_id'"),
        ({"image_id": ["a"], "subject_id": ["b"], "../x": [1.0]}, "has no place"),
    ],
)
def test_a_bundle_holds_ids_and_numbers_alone(tmp_path: Path, columns: dict[str, list[object]], message: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / BUNDLE)
    with pytest.raises(UserError, match=message):
        read_bundle(tmp_path / BUNDLE)


def test_a_bundle_that_is_none_or_too_large_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / BUNDLE
    path.write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(UserError, match="not a parquet file"):
        read_bundle(path)
    # Equal numbers pack into next to nothing: the size of the file says little of what it unpacks to.
    pq.write_table(pa.table({f"s{i}": pa.array(np.zeros(1_000_000)) for i in range(60)}), path)
    assert path.stat().st_size < 10_000_000
    with pytest.raises(UserError, match="cells"):
        read_bundle(path)
