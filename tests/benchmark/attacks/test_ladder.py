"""Which columns count in an image's worst case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.attacks.ladder import WITHHELD, absent_columns, climb
from benchmark.attacks.material import Material
from benchmark.config import BenchmarkConfig
from mema.imageset import Face, write_imageset
from mema.result import Attack

NAMES = ("naive", "stolen-key", "near-key")


def certificates(rate: float) -> dict[str, Attack]:
    return {
        name: Attack(
            name=name, title=name, ranked=name != "stolen-key", keyed=name != "naive", rates={"weak": rate}, needed=0.5
        )
        for name in NAMES
    }


@pytest.fixture
def keys_alone(config: BenchmarkConfig) -> BenchmarkConfig:
    return config.model_copy(update={"ladder": config.ladder.model_copy(update={"attackers": ("keys",)})})


def climbed(people, config, folder: Path, material: Material | None, rate: float = 1.0):
    """Attack probes that are all black, by a naive attacker who never finds anybody."""
    count = people.originals.count
    return climb(
        folder,
        own=people.own,
        others=people.others,
        probes=people.originals,
        material=material,
        naive=np.zeros(count),
        failed=np.arange(count) == 3,
        certificates=certificates(rate),
        config=config,
    )


def test_an_opened_photo_counts_unless_the_key_was_stolen(people, keys_alone, tmp_path: Path) -> None:
    """The right key is meant to open; that a near one does counts, if the attacker could have shown it elsewhere."""
    photos = people.originals.images()
    black = write_imageset(
        tmp_path / "black",
        people.originals.count,
        lambda a, b: [Face(r, p * 0) for r, p in zip(people.originals.records()[a:b], photos[a:b], strict=True)],
        config={},
    )
    opened = Material(people.own, recovered=people.originals, nearly=people.originals)
    scores, attacks = climbed(people, keys_alone, tmp_path / "a", opened)
    assert scores["aside.stolen-key"].mean() > 0.9
    assert (scores["attack.near-key"] == scores["aside.stolen-key"]).all()
    assert [attack.note for attack in attacks] == ["", "", ""]

    closed = climbed(people, keys_alone, tmp_path / "b", opened._replace(nearly=black))
    assert closed.scores["attack.near-key"].mean() < 0.2

    void, attacks = climbed(people, keys_alone, tmp_path / "c", opened, rate=0.3)
    assert "attack.near-key" not in void
    assert "attack.naive" in void
    assert "30%" in attacks[2].note
    for scores in (closed.scores, void):
        assert all(column[3] == 1.0 for column in scores.values())


def test_who_gives_nothing_to_learn_from_hides_nobody(people, keys_alone, tmp_path: Path) -> None:
    for material in (None, Material(None)):
        scores, attacks = climbed(people, keys_alone, tmp_path, material)
        assert (scores["attack.withheld"] == 1).all()
        assert [attack.note for attack in attacks] == ["", WITHHELD, WITHHELD]


def test_an_attacker_who_has_no_target_says_so(people, keys_alone, tmp_path: Path) -> None:
    scores, attacks = climbed(people, keys_alone, tmp_path, Material(people.own))
    assert set(scores) == {"attack.naive"}
    assert attacks[2].note == "does not apply to this method"


def test_a_result_holds_every_column_that_needs_no_key() -> None:
    parrot = Attack(name="parrot", title="parrot", ranked=True, rates={"blur": 0.2}, needed=0.5)
    rules = [*certificates(1.0).values(), parrot]
    assert absent_columns({"attack.naive", "aside.parrot"}, rules) == []
    assert absent_columns({"attack.naive"}, rules) == ["aside.parrot"]
    assert absent_columns({"attack.withheld"}, rules) == []
    better = parrot.model_copy(update={"rates": {"blur": 0.6}})
    assert absent_columns({"attack.naive", "aside.parrot"}, [better]) == ["attack.parrot"]
