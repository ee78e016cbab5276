"""The commands as a user runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import misbehaving
import pytest
import yaml

from mema.build import Build
from mema.result import Result


def mema(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from mema.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["benchmark", "run", "--method", "pixellate"], "did you mean 'pixelate'?"),
        (["benchmark", "run", "--method", "mine", "--images", "no/such/folder"], "no such folder"),
        (["benchmark", "run", "--images", "no/such/folder"], "--images needs --method"),
        (["benchmark", "validate"], "one of --method, --images and --result is needed"),
        (["benchmark", "validate", "--images", "no/such/folder"], "no such folder"),
        (["leaderboard", "submit", "no/such/result.json"], "no such file"),
    ],
)
def test_a_mistake_is_one_clear_line(
    build: Build, results: dict[str, Result], arguments: list[str], message: str
) -> None:
    done = mema(*arguments, "--config", str(build.config_path))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_not_there_yet_says_which_command_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "build.yaml"
    path.write_text(f"name: b\nclinic: eye_clinic\npaths: {{private: p, runs: {tmp_path}/runs}}\n")
    for arguments in (["benchmark", "judge"], ["leaderboard", "build"]):
        done = mema(*arguments, "--config", str(path))
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "build it first" in done.stderr


def test_judge_run_and_build_end_in_a_page(build: Build, results: dict[str, Result]) -> None:
    config = ["--config", str(build.config_path)]
    assert mema("benchmark", "judge", *config).returncode == 0
    done = mema("benchmark", "run", "--method", "pixelate", *config)
    assert done.returncode == 0, done.stderr
    assert f"privacy                                {results['pixelate'].metric('privacy').value:.3f}" in done.stdout
    done = mema("leaderboard", "build", *config)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_file()


def test_one_method_that_cannot_run_costs_no_other(
    build: Build, results: dict[str, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(misbehaving.__file__).parent))
    config = yaml.safe_load(build.config_path.read_text())
    config["benchmark"]["methods"] = ["misbehaving:Unready", "pixellate"]
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(config))
    done = mema("benchmark", "run", "--config", str(tmp_path / "build.yaml"))
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if line.startswith("mema: ")]
    assert "no weights in …/weights.bin" in said[0]
    assert "unknown method 'pixellate'" in said[1]
    assert said[2:] == ["mema: 2 methods have no result: misbehaving:Unready, pixellate"]
