"""What attackers are given: other photos, other people, other keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmark.attacks.material import (
    check_disjoint,
    gather,
    learning_of,
    one_bit_away,
    other_photos,
    target_of,
    write_own_photos,
)
from benchmark.attacks.planted import PLANTED
from benchmark.deidentify import image_key
from mema.errors import UserError
from mema.records import FaceRecord


def test_another_photo_is_alike_and_not_the_same(people) -> None:
    originals, others = people.originals.images(), people.others.images()
    assert (other_photos(originals[:1], [0, 0, 0]) == others[:1]).all()
    difference = np.abs(originals.astype(int) - others).mean(axis=(1, 2, 3))
    strangers = np.abs(originals.astype(int) - np.roll(others, 1, axis=0)).mean()
    assert difference.min() > 1
    assert difference.mean() < strangers
    assert [record.subject_id for record in people.others.records()] == [
        record.subject_id for record in people.originals.records()
    ]


def test_attackers_take_their_own_people_evenly(people, tmp_path: Path) -> None:
    ids = [record.image_id for record in people.originals.records()]
    taken = [record.image_id for record in write_own_photos(people.originals, tmp_path / "few", 10, 0).records()]
    assert (len(taken), taken[0], taken[-1]) == (10, ids[0], ids[-1])
    more = write_own_photos(people.originals, tmp_path / "all", 1000, 0)
    assert [record.image_id for record in more.records()] == [*ids, *(f"{one}.other" for one in ids)]
    # Other than the gallery's: who traces these must not have been shown the very gallery.
    assert (more.images()[len(ids) :] != people.others.images()).any(axis=(1, 2, 3)).all()


def test_attackers_know_nobody_whom_they_trace(people) -> None:
    check_disjoint(people.own, people.originals)
    with pytest.raises(UserError, match="40 subjects"):
        check_disjoint(people.others, people.originals)


def test_a_near_key_differs_in_one_bit() -> None:
    key = "00ff"
    assert bin(int(key, 16) ^ int(one_bit_away(key), 16)).count("1") == 1
    assert one_bit_away(one_bit_away(key)) == key


def test_a_reversible_method_is_asked_for_everything_once(people, tmp_path: Path) -> None:
    """Other photos come under other keys and under the probes' own; probes are opened with right and near keys."""
    weak, asked = PLANTED["keyed-shuffle"], []

    def deliver(images: np.ndarray, records: Sequence[FaceRecord]) -> np.ndarray:
        asked.extend(record.image_id for record in records)
        return weak.deidentify(images, [image_key(record, 3) for record in records])

    arguments = {
        "recover": weak.recover,
        "own": people.own,
        "others": people.others,
        "probes": people.originals,
        "batch_size": 32,
        "seed": 3,
        "config": {"method": "shuffle"},
    }
    material = gather(tmp_path, deliver, **arguments)
    target = target_of(people.originals, people.others, material)
    keys = [image_key(record, 3) for record in people.originals.records()]
    assert (target.reused == weak.deidentify(target.gallery, keys)).all()
    assert (target.enrolled != target.reused).any(axis=(1, 2, 3)).all()
    assert (target.recovered != target.nearly).any(axis=(1, 2, 3)).all()
    learning = learning_of(people.own, material)
    assert learning is not None
    assert learning.clear.shape == learning.deidentified.shape == (people.own.count, 64, 64, 3)
    count = len(asked)
    assert gather(tmp_path, deliver, **arguments).learning is not None
    assert len(asked) == count


@pytest.mark.parametrize(("fails", "left"), [(0.25, 168), (0.75, None)])
def test_what_a_method_withholds_is_not_learnt_from(people, tmp_path: Path, fails: float, left: int | None) -> None:
    failing = {record.image_id for record in people.own.records()[: int(fails * people.own.count)]}

    def deliver(images: np.ndarray, records: Sequence[FaceRecord]) -> list[np.ndarray | str]:
        pairs = zip(images, records, strict=True)
        return ["no" if record.image_id in failing else image for image, record in pairs]

    material = gather(
        tmp_path,
        deliver,
        None,
        own=people.own,
        others=people.others,
        probes=people.originals,
        batch_size=32,
        seed=0,
        config={},
    )
    learning = learning_of(people.own, material)
    assert (None if learning is None else len(learning.people)) == left
    assert material.recovered is None
