"""Real attackers on really weak methods: who breaks what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.attacks.certificates import certify, planted_learning, planted_target
from benchmark.attacks.naive import Naive
from benchmark.attacks.planted import PLANTED
from benchmark.config import BenchmarkConfig
from mema.result import Attack


@pytest.fixture(scope="module")
def certificates(people, config: BenchmarkConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Attack]:
    return certify(tmp_path_factory.mktemp("certificates"), *people, config)


@pytest.mark.slow
def test_attackers_break_what_is_planted_for_them(certificates: dict[str, Attack]) -> None:
    for name in ("naive", "parrot", "parrot-enrolled", "reconstruction", "kept-region", "stolen-key", "near-key"):
        assert certificates[name].certified, certificates[name]
    assert not certificates["stolen-key"].ranked
    assert certificates["near-key"].ranked


@pytest.mark.slow
def test_the_shuffle_falls_to_the_parrot_and_not_to_the_naive(people, config, certificates) -> None:
    weak = PLANTED["shuffle"]
    naive = Naive(planted_learning(weak, people.own, 0), config)
    traced = naive.trace(planted_target(weak, people.originals, people.others, 0))["naive"].mean()
    assert traced < 0.2
    assert certificates["parrot"].rates["shuffle"] > traced + 0.3


def test_who_cannot_break_them_is_void(people, config: BenchmarkConfig, tmp_path: Path) -> None:
    """The bar of what counts as broken is the protocol's to set."""
    strict = config.model_copy(
        update={"ladder": config.ladder.model_copy(update={"attackers": ("keys",), "certificate": 1.0})}
    )
    measured = certify(tmp_path, *people, strict)
    assert list(measured) == ["naive", "stolen-key", "near-key"]
    assert measured["naive"].rates.keys() == {"mild-blur", "mild-mosaic"}
    assert measured["naive"].certified == (min(measured["naive"].rates.values()) == 1.0)
    files = sorted(tmp_path.iterdir())
    kept = [file.stat().st_mtime_ns for file in files]
    assert certify(tmp_path, *people, strict) == measured
    assert [file.stat().st_mtime_ns for file in files] == kept


def test_no_attacker_asked_for_needs_no_certificate(people, config: BenchmarkConfig, tmp_path: Path) -> None:
    alone = config.model_copy(update={"ladder": config.ladder.model_copy(update={"attackers": ()})})
    assert certify(tmp_path, *people, alone) == {}


def test_only_the_right_key_opens_a_shuffle(people) -> None:
    images, keys = people.originals.images()[:4], ["0a" * 32, "0b" * 32, "0c" * 32, "0d" * 32]
    weak = PLANTED["keyed-shuffle"]
    hidden = weak.deidentify(images, keys)
    assert (hidden != images).any(axis=(1, 2, 3)).all()
    # Nothing is lost: every colour is somewhere else.
    assert (np.sort(hidden.reshape(4, -1)) == np.sort(images.reshape(4, -1))).all()
    assert weak.recover is not None
    assert (weak.recover(hidden, keys) == images).all()
    assert (weak.recover(hidden, keys[::-1]) != images).any(axis=(1, 2, 3)).all()
    short = PLANTED["short-key"]
    assert short.recover is not None
    assert (short.recover(short.deidentify(images, keys), [key[:-1] + "f" for key in keys]) == images).all()
