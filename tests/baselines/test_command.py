"""Programs as methods: what is kept of them, and what becomes of those that are missing, fail or hang."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

from baselines.command import Command, CommandParameters
from baselines.registry import MethodConfig, load_method_config, make_method
from mema.errors import UserError

EXTERNAL = ("deepprivacy", "ciagan", "disguise", "personal", "riddle", "fit")
CONFIGS = Path(__file__).parents[2] / "configs" / "methods"

INVERT = """
import sys
from pathlib import Path
from PIL import Image, ImageOps
for file in Path(sys.argv[1]).iterdir():
    ImageOps.invert(Image.open(file)).save(Path(sys.argv[2], file.name))
"""
# Shifts the grey values of each picture by its key, there and back.
KEYED = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
way, source, target, keys = sys.argv[1:]
for file, key in zip(sorted(Path(source).iterdir()), Path(keys).read_text().splitlines(), strict=True):
    shift = sum(key.encode()) % 256 * (1 if way == "hide" else -1)
    Image.fromarray((np.asarray(Image.open(file)).astype(int) + shift).astype(np.uint8)).save(Path(target, file.name))
"""
SOURCE = {"citation": "Nobody 1999", "repository": "none", "licence": "MIT", "install": ("get it", "build it")}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 40, 48, 3), dtype=np.uint8)


def command(*words: str, **parameters: Any) -> Command:
    values = {"command": shlex.join(words), "revision": "1", "timeout": 20, **parameters}
    method = make_method(MethodConfig(method="command", parameters=values))
    assert isinstance(method, Command)
    return method


def python(code: str, *words: str, **parameters: Any) -> Command:
    return command(sys.executable, "-S", "-c", code, *words, "{input}", "{output}", **parameters)


def test_a_program_is_a_method(images: np.ndarray) -> None:
    method = command(sys.executable, "-c", INVERT, "{input}", "{output}")
    assert np.array_equal(method.deidentify(images, keys=None, seed=0), 255 - images)
    assert not method.reversible
    with pytest.raises(UserError, match="names no command to recover"):
        method.recover(images, ["a", "b"])


def test_a_program_in_its_home_hides_and_reveals_by_the_keys(tmp_path: Path, images: np.ndarray) -> None:
    home = tmp_path / "home"
    home.mkdir()
    # The home holds a program of its own, which is found there whatever the caller's folder is.
    (home / "shift").write_text(f"#!{sys.executable}\n{KEYED}")
    (home / "shift").chmod(0o755)
    words = "./shift {way} {{input}} {{output}} {{keys}}"
    method = command(
        *words.format(way="hide").split(), recover=words.format(way="reveal"), home=str(home), source=SOURCE
    )
    keys = ["first", "second"]
    hidden = method.deidentify(images, keys=keys, seed=0)
    assert method.reversible
    assert not np.array_equal(hidden, images)
    assert np.array_equal(method.recover(hidden, keys), images)
    assert not np.array_equal(method.recover(hidden, keys[::-1]), images)
    # The same record as of our own methods.
    kept = method.parameters.model_dump(mode="json")
    assert (kept["source"]["citation"], kept["revision"]) == ("Nobody 1999", "1")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('no GPU')", "exit code 1: no GPU"),
        ("pass", "00000.png: the photo is missing"),
        ("raise SystemExit(3)", "exit code 3: no message"),
    ],
)
def test_a_program_that_fails_says_why(code: str, message: str, images: np.ndarray) -> None:
    with pytest.raises(RuntimeError, match=message):
        python(code).deidentify(images, keys=None, seed=0)


def test_a_program_that_hangs_is_stopped_though_what_it_started_lives_on(images: np.ndarray) -> None:
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(12)'])"
    begun = monotonic()
    with pytest.raises(RuntimeError, match="no answer within 2 s"):
        python(f"{code}; time.sleep(60)", timeout=2).deidentify(images, keys=None, seed=0)
    assert monotonic() - begun < 11


def test_what_is_not_there_is_the_users_to_mend(tmp_path: Path, images: np.ndarray) -> None:
    with pytest.raises(UserError, match="no program 'no-such-program'"):
        command("no-such-program", "{input}", "{output}").deidentify(images, keys=None, seed=0)
    with pytest.raises(UserError, match=r"no folder .*absent; to install it by hand: get it; build it") as raised:
        python("pass", home=str(tmp_path / "absent"), source=SOURCE).deidentify(images, keys=None, seed=0)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", EXTERNAL)
def test_a_published_method_says_where_it_comes_from_and_how_it_is_installed(
    name: str, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where nothing is installed
    method = make_method(load_method_config(CONFIGS / f"{name}.yaml"))
    assert isinstance(method.parameters, CommandParameters)
    source = method.parameters.source
    assert source is not None
    assert all((source.citation, source.repository, source.licence, source.install))
    with pytest.raises(UserError, match=f"no folder external/{name}; to install it by hand: ") as raised:
        method.deidentify(images, keys=["a", "b"], seed=0)
    assert "\n" not in str(raised.value)


def test_recovering_takes_keys() -> None:
    with pytest.raises(UserError, match=r"recover: .*must name \{input\}, \{output\} and \{keys\}"):
        command("x", "{input}", "{output}", recover="x {input} {output}")
