"""Costs of methods whose speed is known, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import misbehaving
import numpy as np
import pytest

from baselines.protocol import NoParameters
from benchmark import cost
from benchmark.config import BenchmarkConfig
from benchmark.cost import Timing, cost_of, measure, stated_of
from benchmark.method_process import MethodProcess
from benchmark.run import Bench, take_cost
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord

KEYS = ["k"] * 5


class Sleeper:
    """Takes ``seconds`` for each call and remembers what it was called with."""

    parameter_count = 1_500_000

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.batches: list[list[int]] = []
        self.parameters = NoParameters()

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> np.ndarray:
        assert keys is not None and len(keys) == len(images)
        self.batches.append(images[:, 0, 0, 0].tolist())
        time.sleep(self.seconds)
        return images


class Boaster(Sleeper):
    """Says that its networks have learnt less than nothing."""

    name, revision, reversible, prior = "boaster", "1", False, "None"
    parameters_model = NoParameters
    parameter_count = -1

    def __init__(self, parameters: NoParameters) -> None:
        super().__init__(0.6)


class Employer(Boaster):
    """Lets a program of 256 MiB do the work."""

    parameter_count = 0

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> np.ndarray:
        subprocess.run([sys.executable, "-S", "-c", "b'x' * 2**28"], check=True)
        return super().deidentify(images, keys=keys, seed=seed)


def images_of(*faults: int) -> np.ndarray:
    images = np.full((len(faults), 8, 8, 3), 7, np.uint8)
    images[:, 0, 0, 0] = faults
    return images


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(misbehaving.__file__).parent))
    monkeypatch.setenv("OUTSIDE", str(tmp_path))


def test_whole_batches_are_timed_in_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "ROUND_SECONDS", 0.1)
    method, images = Sleeper(0.03), images_of(1, 2, 3, 4, 5)
    timing = Timing.model_validate(measure(method, images, KEYS, 0, 2))
    # One image and one batch to warm up; then rounds of so many batches, none of them with the odd image.
    assert method.batches[:4] == [[1], [1, 2], [3, 4], [1, 2]]
    assert {len(batch) for batch in method.batches[1:]} == {2}
    assert len(timing.seconds) == cost.ROUNDS and timing.images % 2 == 0
    stated = stated_of(timing)
    assert 0 < stated["images_per_second"].value <= 2 / 0.03
    interval = stated["images_per_second"].interval
    assert interval is not None and 0 < interval.low <= stated["images_per_second"].value <= interval.high
    assert stated["parameters"].value == 1.5


def test_a_slow_method_is_asked_for_no_more_than_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "ROUND_SECONDS", 0.01)
    monkeypatch.setattr(cost, "MOST_SECONDS", 0.02)
    method = Sleeper(0.05)
    timing = Timing.model_validate(measure(method, images_of(1, 2), KEYS[:2], 0, 32))
    assert method.batches == [[1], [1, 2]]
    assert timing.images == 2 and len(timing.seconds) == 1
    assert stated_of(timing)["images_per_second"].interval is None


def test_a_method_is_measured_in_its_own_process(outside: None) -> None:
    images = images_of(*[misbehaving.GOOD] * 5)
    here = np.ones(2**28, np.uint8)
    with MethodProcess({"method": "pass_through"}, time_limit=60) as method:
        timing = Timing.model_validate(method.cost(images, KEYS, 0, 2))
        outputs = method.deidentify(images, KEYS, 0)
    assert all(np.array_equal(output, image) for output, image in zip(outputs, images, strict=True))
    assert timing.parameters == 0
    assert 2**23 < timing.memory < here.nbytes, "the memory of who calls is not the method's"


def test_memory_is_that_of_programs_too(outside: None) -> None:
    with MethodProcess({"method": "test_cost:Employer"}, time_limit=60) as method:
        answer = method.cost(images_of(misbehaving.GOOD), KEYS[:1], 0, 2)
    assert answer is not None and answer["memory"] > 2**28


def test_a_method_that_cannot_be_measured_costs_nothing_known(outside: None) -> None:
    with MethodProcess({"method": "misbehaving:Misbehaving"}, time_limit=60) as method:
        assert method.cost(images_of(misbehaving.RAISES), KEYS[:1], 0, 2) is None
        assert method.cost(images_of(misbehaving.DIES), KEYS[:1], 0, 2) is None
        (output,) = method.deidentify(images_of(misbehaving.GOOD), KEYS[:1], 0)
        assert isinstance(output, np.ndarray), "it goes on"


def test_a_cost_is_stated_again_as_it_was(outside: None, tmp_path: Path) -> None:
    originals, config = small_set(tmp_path / "originals"), BenchmarkConfig(batch_size=2, tracks=("cost",))
    path = tmp_path / "pass_through" / "cost.json"
    with MethodProcess({"method": "pass_through"}, time_limit=60) as method:
        # The protocol does not ask for it.
        bench = Bench(BenchmarkConfig(), *[cast(Any, None)] * 2, originals, tmp_path)
        assert take_cost(bench, method) == {} and not path.exists()
        first = take_cost(bench._replace(config=config), method)
        # Timed anew it would not be the same.
        assert cost_of(method, originals, path, config) == first
        method.description = method.description.model_copy(update={"revision": "2"})
        assert cost_of(method, originals, path, config) != first
    assert list(first) == ["images_per_second", "memory", "parameters"]


def test_an_answer_without_form_is_none(outside: None, tmp_path: Path) -> None:
    originals = small_set(tmp_path / "originals")
    with MethodProcess({"method": "test_cost:Boaster"}, time_limit=60) as method:
        assert cost_of(method, originals, tmp_path / "cost.json", BenchmarkConfig()) == {}


def small_set(path: Path) -> ImageSet:
    records = [FaceRecord(image_id=f"v{i}", subject_id=f"v{i}") for i in range(3)]
    images = images_of(*[misbehaving.GOOD] * 3)
    return write_imageset(path, 3, lambda a, b: [Face(records[i], images[i]) for i in range(a, b)], config={})
