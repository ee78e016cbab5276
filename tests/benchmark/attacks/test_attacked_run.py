"""A whole run with attackers: what they are given, what the result says of them, and what a submission must hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from baselines.protocol import NoParameters
from benchmark.attacks.planted import PLANTED
from benchmark.board import Board
from benchmark.run import run_deidentifier
from benchmark.validation import faults_of_result
from mema.build import Build
from mema.result import Method, Result


class KeyedShuffle:
    """A reversible method whose key matters to the last bit."""

    name, revision, reversible, prior = "keyed_shuffle", "1", True, "None"
    parameters_model, parameters = NoParameters, NoParameters()

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> np.ndarray:
        assert keys is not None
        return PLANTED["keyed-shuffle"].deidentify(images, keys)

    def recover(self, images: np.ndarray, keys: Sequence[str]) -> np.ndarray:
        recover = PLANTED["keyed-shuffle"].recover
        assert recover is not None
        return recover(images, keys)


DESCRIPTION = Method(name="keyed_shuffle", revision="1", reversible=True, prior="None")


@pytest.fixture(scope="module")
def shuffled(attacked_build: Build) -> Result:
    return run_deidentifier(attacked_build, KeyedShuffle(), DESCRIPTION)


def test_only_who_stole_the_key_sees_the_photo(shuffled: Result) -> None:
    assert {attack.name for attack in shuffled.attacks} == {"naive", "kept-region", "stolen-key", "near-key"}
    traced = {name: np.mean(column) for name, column in shuffled.scores.items()}
    assert traced["aside.stolen-key"] == 1
    assert traced["attack.near-key"] < 0.6
    worst = np.max([column for name, column in shuffled.scores.items() if name.startswith("attack.")], axis=0)
    assert shuffled.scores["attack"] == worst.tolist()
    assert shuffled.scores["privacy"] == (1 - worst).tolist()
    assert shuffled.metric("aside.stolen-key").value == 1


def test_a_rerun_attacks_nothing_again_and_is_the_same(attacked_build: Build, shuffled: Result) -> None:
    folder = attacked_build.benchmark / "keyed_shuffle"
    kept = {file: file.stat().st_mtime_ns for file in (folder / "attacks").rglob("*") if file.is_file()}
    assert {"learning", "enrolled", "reused", "recovered", "nearly"} <= {file.parent.name for file in kept}
    before = (folder / "result.json").read_bytes()
    run_deidentifier(attacked_build, KeyedShuffle(), DESCRIPTION)
    assert (folder / "result.json").read_bytes() == before
    assert {file: file.stat().st_mtime_ns for file in kept} == kept


def test_a_submission_cannot_leave_an_attacker_out(attacked_build: Build, shuffled: Result) -> None:
    board = Board.of(attacked_build)
    assert faults_of_result(shuffled, board) == []
    name = next(name for name in shuffled.scores if name.endswith("kept-region"))
    without = {score: column for score, column in shuffled.scores.items() if score != name}
    assert name in faults_of_result(shuffled.model_copy(update={"scores": without}), board)[0]
    boasting = [attack.model_copy(update={"needed": 1.0}) for attack in shuffled.attacks]
    assert "certificates" in faults_of_result(shuffled.model_copy(update={"attacks": boasting}), board)[0]
