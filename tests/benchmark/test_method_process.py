"""Methods in processes of their own: real hangs, real crashes, real attempts to write where they should not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import misbehaving
import numpy as np
import pytest

from benchmark.deidentify import public
from benchmark.method_process import PATIENCE, MethodProcess
from mema.errors import UserError
from mema.files import sha256_file


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that no method may write to."""
    monkeypatch.setenv("PYTHONPATH", str(Path(misbehaving.__file__).parent))
    monkeypatch.setenv("OUTSIDE", str(tmp_path))
    yield tmp_path
    assert not list(tmp_path.iterdir())


def images_of(*faults: int) -> np.ndarray:
    images = np.full((len(faults), 8, 8, 3), 7, np.uint8)
    images[:, 0, 0, 0] = faults
    return images


def process(name: str = "Misbehaving", time_limit: float = 60) -> MethodProcess:
    return MethodProcess({"method": f"misbehaving:{name}"}, time_limit=time_limit)


def test_each_fault_costs_its_own_image(outside: Path, capfd: pytest.CaptureFixture[str]) -> None:
    faults = {
        misbehaving.RAISES: "RuntimeError: no file …/canary.txt",
        misbehaving.NAN: "returned float64 with NaN or infinity, not uint8",
        misbehaving.SMALL: "returned 8 x 7 pixels, not 8 x 8",
        misbehaving.FEW: "returned 0 images for 1",
        misbehaving.NOTHING: "returned NoneType, not an array",
        misbehaving.WRITES: "tried to write outside its folder: …/canary.txt",
        misbehaving.SWALLOWS: "tried to write outside its folder: …/canary.txt",
    }
    images = images_of(misbehaving.GOOD, *faults, misbehaving.STARTS, misbehaving.GOOD)
    with process() as method:
        assert method.description.name == "misbehaving"
        assert method.description.revision == f"1+{sha256_file(misbehaving.__file__)[:8]}"
        outputs = method.deidentify(images, ["k"] * len(images), 0)
    assert [str(output) for output in outputs[1:-2]] == list(faults.values())
    for row in (0, -1):
        assert np.array_equal(outputs[row], 255 - images[row])
    if sys.platform.startswith("linux"):
        # A program that the method starts is held as well, by the kernel.
        assert "CalledProcessError" in str(outputs[-2])
    printed = capfd.readouterr()
    assert "a method may print" in printed.err
    assert printed.err.count("no file") >= 1, "whoever runs a method sees its traceback"
    assert printed.out == ""


def test_what_hangs_or_dies_costs_its_own_image(outside: Path) -> None:
    images = images_of(misbehaving.GOOD, misbehaving.HANGS, misbehaving.DIES, misbehaving.GOOD)
    with process(time_limit=3) as method:
        outputs = method.deidentify(images, ["k"] * 4, 0)
    assert list(outputs[1:3]) == ["no answer within 3 s", "its process was ended: Segmentation fault"]
    for row in (0, 3):
        assert np.array_equal(outputs[row], 255 - images[row])


def test_a_method_that_never_answers_is_given_up(outside: Path) -> None:
    with process() as method:
        outputs = method.deidentify(images_of(*[misbehaving.EXITS] * 5), ["k"] * 5, 0)
    assert outputs[0] == "its process ended with exit code 3"
    assert outputs[PATIENCE - 1 :] == [f"given up after {PATIENCE} calls without an answer; the last: {outputs[0]}"] * 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("misbehaving:Unready", "cannot be made: RuntimeError: no weights in …/weights.bin"),
        ("misbehaving:Absent", "has no attribute 'Absent'"),
        ("no_such_module:Method", "No module named 'no_such_module'"),
    ],
)
def test_a_method_that_does_not_start_says_why(outside: Path, name: str, message: str) -> None:
    with pytest.raises(UserError) as raised, MethodProcess({"method": name}, time_limit=60):
        pass
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_method_ends_with_who_called_it(outside: Path) -> None:
    """Even a caller that is killed leaves no process behind, though the method hangs."""
    program = (
        "import misbehaving; from test_method_process import images_of, process\n"
        "with process() as method:\n"
        "    print(method._process.pid, flush=True)\n"
        "    method.deidentify(images_of(misbehaving.HANGS), ['k'], 0)"
    )
    caller = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert caller.stdout is not None
    pid = int(caller.stdout.readline())
    caller.kill()
    caller.wait()
    for _ in range(600):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").exists() and ") Z " in Path(f"/proc/{pid}/stat").read_text():
            return
        time.sleep(0.1)
    pytest.fail("the method's process lives on")


def test_a_reason_is_one_short_line_without_places() -> None:
    assert public("no\nfile\x1b[31m /home/someone/x.bin ").startswith("no file [31m …/x.bin")
    assert len(public("y" * 300)) == 200
