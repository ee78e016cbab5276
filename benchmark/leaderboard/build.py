"""From results to the folder of pages, for one build or for all that the shelf holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark.board import Board
from benchmark.config import BenchmarkConfig
from benchmark.leaderboard.cases import shown_ids
from benchmark.leaderboard.examples import Examples, make_examples, make_pairs
from benchmark.leaderboard.page import INDEX, Pictures, render_pages
from benchmark.leaderboard.submissions import SHELF, boards, checked, folder_of, submitted
from benchmark.statistics import check_comparable
from mema.build import Build
from mema.errors import UserError
from mema.files import atomic_write, empty_beside, replace_folder
from mema.release import Release
from mema.result import Result


def build_leaderboard(build: Build, shelf: Path = SHELF) -> Path:
    """Write the pages to ``build.leaderboard`` and return the first one's path.

    The results are those of ``build.benchmark`` and, for methods that did not run here, those handed in for this very
    release and protocol. The release gives the pictures. UserError when there is no result, or when one is of another
    release, protocol or set of images, or does not follow from its own per-image scores.
    """
    config = build.section("benchmark", BenchmarkConfig)
    release = Release.open(build.release)
    results = {result.method.name: result for result in map(Result.load, build.benchmark.glob("*/result.json"))}
    for result in results.values():
        if result.release.digest != release.digest:
            raise UserError(f"the result of '{result.method.name}' is of another release: run it again")
    if not results and not build.benchmark.is_dir():
        raise UserError(f"{build.benchmark} holds no result: run 'mema benchmark run' first")
    board = Board.of(build)
    everything = {result.method.name: result for result in submitted(board, shelf)} | results
    if not everything:
        raise UserError(f"{build.benchmark} holds no result: run 'mema benchmark run' first")
    check_comparable(list(everything.values()))
    checked(results.values(), board)
    # Floors in the order of the configuration, then what others add.
    order = [name for name in config.methods if name in results] + sorted(set(results) - set(config.methods))
    folders = {name: build.benchmark / name / "images" for name in order}
    originals = release.imageset("validation")
    examples = make_examples(originals, folders, config.examples) if config.examples else None
    shown = {name: shown_ids(results[name], board) for name in order}
    pictures = make_pairs(originals, folders, shown)
    return _write([everything[name] for name in sorted(everything)], board, build.leaderboard, examples, pictures)


def build_from_shelf(folder: Path, shelf: Path = SHELF) -> list[Path]:
    """Write the pages of every board on the shelf below ``folder``, from the shelf alone; return the first ones' paths.

    UserError when the shelf holds no result, or one that does not hold against its board.
    """
    found = [(board, submitted(board, shelf)) for board in boards(shelf)]
    written = [
        _write(results, board, folder / folder_of(board.release, shelf).name) for board, results in found if results
    ]
    if not written:
        raise UserError(f"{shelf} holds no result: hand one in with 'mema leaderboard submit'")
    return written


def _write(
    results: Sequence[Result],
    board: Board,
    folder: Path,
    examples: Examples | None = None,
    pictures: Pictures | None = None,
) -> Path:
    """Write the pages in the place of ``folder``, whole or not at all."""
    check_comparable(results)
    staging = empty_beside(folder)
    for name, text in render_pages(results, board, examples, pictures).items():
        atomic_write(staging / name, text)
    replace_folder(staging, folder)
    return folder / INDEX
