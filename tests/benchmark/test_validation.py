"""The dry check: every fault of a folder or a method, one line each, and nothing heavy imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import misbehaving
import pytest
from PIL import Image

from benchmark.inputs import export_inputs, inputs_of
from benchmark.validation import check_images, check_method, check_result
from mema.build import Build
from mema.errors import UserError
from mema.result import Result


def test_what_is_exported_is_what_is_asked_for(build: Build, results: dict[str, Result], tmp_path: Path) -> None:
    folder = tmp_path / "images"
    assert export_inputs(build, folder) == sum(one.count for one in inputs_of(build)) == len(list(folder.iterdir()))
    report = check_images(build, folder)
    assert report.faults == []
    assert report.subject.startswith("16 images, revision ")
    with pytest.raises(UserError, match="exists"):
        export_inputs(build, folder)


def test_every_fault_of_a_folder_is_one_line(build: Build, results: dict[str, Result], tmp_path: Path) -> None:
    folder = tmp_path / "images"
    export_inputs(build, folder)
    ids = results["blackout"].image_ids
    missing, damaged, small, twice = ids[:4]
    (folder / f"{missing}.png").rename(folder / "someone.png")
    (folder / f"{damaged}.png").write_bytes((folder / f"{damaged}.png").read_bytes()[:500])
    Image.new("RGB", (64, 128)).save(folder / f"{small}.png")
    Image.new("RGB", (128, 128)).save(folder / f"{twice}.jpg")
    (folder / "notes.txt").write_text("x")
    faults = check_images(build, folder).faults
    assert sorted(fault.split(":")[0] for fault in faults if ":" in fault) == sorted(
        [missing, damaged, small, twice, "someone.png", "notes.txt"]
    )
    assert f"{small}: returned 64 x 128 pixels, not 128 x 128" in faults
    assert faults[-1] == "15 of 16 images are there"
    assert check_images(build, tmp_path / "nowhere").faults == [f"{tmp_path}/nowhere: no such folder of images"]


def test_a_method_is_tried_on_a_few_images(
    build: Build, results: dict[str, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(misbehaving.__file__).parent))
    assert check_method(build, "misbehaving:Slow").faults == []
    faults = check_method(build, "misbehaving:Jittery").faults
    assert [fault.split(":")[0] for fault in faults] == [
        "two runs with the same keys and seed differ",
        "an image alone and in a batch come out different",
    ]


def test_validating_imports_no_torch_and_names_each_fault(
    build: Build, results: dict[str, Result], tmp_path: Path
) -> None:
    theirs = results["blackout"].model_copy(update={"seeds": [7], "counts": {}})
    theirs.save(tmp_path / "result.json")
    assert check_result(build, tmp_path).faults[0] == "its seeds are [7], not [0]"
    code = (
        "import sys; from mema.cli import main\n"
        f"sys.argv = ['mema', 'benchmark', 'validate', '--config', {str(build.config_path)!r},"
        f" '--result', {str(tmp_path / 'result.json')!r}]\n"
        "try: main()\n"
        "except SystemExit as stop: print('code', stop.code)\n"
        "print('heavy', {'torch', 'dlib', 'scipy', 'sklearn', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["code 2", "heavy set()"]
    assert done.stderr.splitlines()[0] == "mema: its seeds are [7], not [0]"
    assert len(done.stderr.splitlines()) == 4
