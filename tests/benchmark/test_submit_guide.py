"""docs/submit.md as a new user would follow it: the method is copied from it, its commands are run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from mema.build import Build
from mema.result import Result

GUIDE = (Path(__file__).parents[2] / "docs" / "submit.md").read_text()


def block(name: str) -> str:
    found = re.search(rf"<!-- {name}:begin.*?-->\n```\w+\n(.*?)```\n<!-- {name}:end -->", GUIDE, re.DOTALL)
    assert found is not None
    return found.group(1)


def test_a_new_user_gets_a_row(build: Build, results: dict[str, Result], tmp_path: Path) -> None:
    method = block("method")
    assert len(method.splitlines()) <= 30
    (tmp_path / "my_method.py").write_text(method)
    said = []
    try:
        for line in block("commands").splitlines():
            words = shlex.split(line)
            words = [str(build.config_path) if word == "configs/demo.yaml" else word for word in words]
            words = [word.replace("runs/demo/benchmark", str(build.benchmark)) for word in words]
            assert words.pop(0) == "mema"
            done = subprocess.run(
                [sys.executable, "-c", "from mema.cli import main; main()", *words],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            said.append(done.stdout)
    finally:
        shutil.rmtree(build.benchmark / "my_mosaic", ignore_errors=True)
    checked, scored, handed_in = said
    assert re.fullmatch(r"ok: method 'my_mosaic', revision 1\+[0-9a-f]{8}, on 4 images\n", checked)
    assert scored.startswith("my_mosaic\n")
    assert "rank 1 (1-1), tie group 1" in handed_in
    assert (tmp_path / "leaderboard" / "test-phantoms-0.1.0" / "my_mosaic" / "scores.parquet").is_file()
