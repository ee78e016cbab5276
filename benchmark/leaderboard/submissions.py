"""Results that people hand in: checked, then kept in git below ``leaderboard/<release>-<version>/``.

There lie ``_board.json`` (benchmark.board) and a folder for each method with ``result.json``, a Result
without its per-image scores, and ``scores.parquet``, which holds them. Nothing there shows a face, and the page can be
rendered from it alone (``mema leaderboard build``).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmark.board import FILE, RANKED_BY, Board, folder_of
from benchmark.names import check_name
from benchmark.results import RESULT, read_result, write_result
from benchmark.statistics import Standing, standings
from benchmark.validation import faults_of_result
from mema.errors import UserError
from mema.result import ReleaseReference, Result

SHELF = Path("leaderboard")


def board_for(release: ReleaseReference, opened: Board | None, shelf: Path) -> Board:
    """Return the board by which a result of ``release`` is checked: ``opened`` or, without it, the shelf's.

    UserError when there is neither, or when both exist and differ.
    """
    file = folder_of(release, shelf) / FILE
    if not file.is_file():
        if opened is None:
            raise UserError(f"{shelf} holds no board of {release.name} {release.version}: name its build with --config")
        return opened
    kept = Board.load(file)
    if opened is None:
        return kept
    if not opened.same_rules(kept):
        same = opened.release == kept.release and opened.protocol == kept.protocol
        what = "judge" if same else "protocol" if opened.release == kept.release else "release"
        raise UserError(f"{file} is of another {what} than the build: results of both cannot stand on one page")
    return opened


def submit(result: Result, board: Board, shelf: Path = SHELF) -> Path:
    """Keep a result on the shelf and return its folder; an earlier one of the method is replaced.

    UserError with the first fault of a result that is not of the board's release and protocol, or whose numbers do not
    follow from its own per-image scores.
    """
    refuse_faults(result, board)
    place = folder_of(board.release, shelf)
    # A board of before there were groups is replaced.
    if not (place / FILE).is_file() or (board.groups and not Board.load(place / FILE).groups):
        board.save(place / FILE)
    return write_result(result, place / check_name(result.method.name))


def submitted(board: Board, shelf: Path = SHELF) -> list[Result]:
    """Return the shelf's results for ``board``, by name of method, checked again; none when it has another board."""
    place = folder_of(board.release, shelf)
    if not (place / FILE).is_file() or not Board.load(place / FILE).same_rules(board):
        return []
    results = [read_result(folder) for folder in sorted(place.iterdir()) if (folder / RESULT).is_file()]
    return checked(results, board)


def ranking(board: Board, shelf: Path = SHELF) -> list[Standing]:
    """Return where the methods on the shelf stand, best first, derived from their bundles."""
    return standings(submitted(board, shelf), RANKED_BY, draws=board.config.bootstrap_draws, seed=board.config.seed)


def checked(results: Iterable[Result], board: Board) -> list[Result]:
    """Return ``results`` if all hold against ``board``; UserError with the first fault."""
    results = list(results)
    for result in results:
        refuse_faults(result, board)
    return results


def refuse_faults(result: Result, board: Board) -> None:
    """Raise UserError with the first fault of ``result``, if it has one."""
    if faults := faults_of_result(result, board):
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise UserError(f"result of '{result.method.name[:80]}': {faults[0]}{more}")


def boards(shelf: Path = SHELF) -> list[Board]:
    """Return all boards on the shelf, in the order of their folders."""
    return [Board.load(file) for file in sorted(shelf.glob(f"*/{FILE}"))]
