"""A track from outside goes the whole way: judge, result, check of a submission, page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmark.board import Board
from benchmark.leaderboard.page import render_pages
from benchmark.metrics import definitions_of
from benchmark.run import Bench, measure_tracks
from benchmark.tracks.protocol import Sample
from benchmark.validation import faults_of_result
from mema.build import Build
from mema.result import Result


def test_a_track_is_in_the_result(build: Build, results: dict[str, Result]) -> None:
    result = results["pass_through"]
    originals = Bench.open(build).originals.images() / 255
    assert result.metric("brightness").value == pytest.approx(originals.mean())
    red = originals[originals[..., 0].mean(axis=(1, 2)) >= originals[..., 2].mean(axis=(1, 2))]
    assert result.metric("brightness.red").value == pytest.approx(red.mean())
    assert result.scores["brightness.red"].count(None) == len(originals) - len(red)
    assert results["blackout"].metric("brightest.image").value == 0
    assert Board.of(build).noise["brightness"] == 0.125


def test_only_what_images_yield_is_derived_again(build: Build, results: dict[str, Result]) -> None:
    board, result = Board.of(build), results["pass_through"]
    assert faults_of_result(result, board) == []

    def altered(name: str, **changes: object) -> Sequence[str]:
        metrics = [m.model_copy(update=changes) if m.name == name else m for m in result.metrics]
        return faults_of_result(result.model_copy(update={"metrics": metrics}), board)

    assert altered("brightest.image", value=0.5) == []
    assert "brightness.red" in altered("brightness.red", value=0.5)[0]


def test_the_page_has_a_view_of_it(build: Build, results: dict[str, Result]) -> None:
    pages = render_pages(list(results.values()), Board.of(build))
    assert "Table 0" in pages["index.html"] and "Brightness red" in pages["index.html"]
    assert "brightness_low" in pages["ranking.csv"].splitlines()[0]


def test_what_was_measured_is_kept(build: Build, results: dict[str, Result], tmp_path: Path) -> None:
    bench = Bench.open(build)._replace(folder=tmp_path)
    (tmp_path / "judge").symlink_to(build.benchmark / "judge")
    sample = Sample(bench.originals, bench.originals, np.zeros(bench.originals.count, bool))
    first = measure_tracks(bench, "kept", sample)
    (tmp_path / "judge").unlink()
    again = measure_tracks(bench, "kept", sample)
    assert again.stated == first.stated
    np.testing.assert_array_equal(again.scores["brightness.red"], first.scores["brightness.red"])


def test_definitions_name_each_metric_once(build: Build) -> None:
    names = [definition.name for definition in definitions_of(Board.of(build).config)]
    assert len(set(names)) == len(names)
