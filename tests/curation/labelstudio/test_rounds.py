from collections import Counter
from itertools import combinations

import pytest

from curation.labelstudio.rounds import Round, Shown, load_rounds
from mema.errors import UserError

IMAGES = tuple(f"virtual-{number:04d}" for number in range(60))


def plan(**changes):
    values = {
        "number": 0,
        "candidates": "c",
        "images": IMAGES,
        "height": 8,
        "width": 6,
        "annotators": ("a", "b", "c", "d"),
        "per_image": 2,
        "repeated": 0.2,
        "seed": 3,
    }
    return Round(**{**values, **changes})


def test_every_image_goes_to_as_many_as_asked_and_the_work_is_shared():
    queues = {name: plan().queue(name) for name in "abcd"}
    seen = Counter(shown.image_id for queue in queues.values() for shown in queue if not shown.again)
    assert seen == dict.fromkeys(IMAGES, 2)
    assert {sum(not shown.again for shown in queue) for queue in queues.values()} == {30}
    both = Counter(
        pair
        for pair in combinations("abcd", 2)
        for image_id in IMAGES
        if all(Shown(image_id, False) in queues[name] for name in pair)
    )
    assert set(both.values()) == {10}


def test_a_share_comes_again_in_the_second_half():
    queue = plan(annotators=("a",), per_image=1).queue("a")
    repeats = [place for place, shown in enumerate(queue) if shown.again]
    assert len(repeats) == 12
    assert min(repeats) >= 30
    for place in repeats:
        assert queue.index(Shown(queue[place].image_id, False)) < 30


def test_the_order_is_the_seeds_and_everyones_own():
    one = plan(per_image=4)
    assert one.queue("a") == plan(per_image=4).queue("a")
    assert one.queue("a") != one.queue("b")
    assert one.queue("a") != plan(per_image=4, seed=4).queue("a")
    assert [shown.image_id for shown in one.queue("a") if not shown.again] != sorted(IMAGES)


def test_names_say_nothing_and_are_never_shared():
    one = plan()
    keys = {one.key(Shown(image_id, again)) for image_id in IMAGES for again in (False, True)}
    assert len(keys) == 2 * len(IMAGES)
    assert all(len(key) == 24 and "virtual" not in key for key in keys)
    assert not keys & {plan(number=1).key(Shown(image_id, False)) for image_id in IMAGES}


def test_rounds_are_read_back_and_checked(tmp_path):
    plan().save(tmp_path)
    plan(number=1, projects={"a": 7}).save(tmp_path)
    assert load_rounds(tmp_path) == [plan(), plan(number=1, projects={"a": 7})]
    assert plan().same_plan(plan(projects={"a": 7}, url="http://x"))
    assert not plan().same_plan(plan(seed=4))
    (tmp_path / "round-1.json").write_text("{}")
    with pytest.raises(UserError, match=r"round-1\.json"):
        load_rounds(tmp_path)
