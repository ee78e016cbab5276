"""What a user can mend is one line and exit code 2, of scripts as of ``mema``."""

from __future__ import annotations

from pathlib import Path

import pytest

from mema.errors import UserError, run_script

ROOT = Path(__file__).parents[2]


def test_a_script_ends_with_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise UserError("here.csv: no such file")

    with pytest.raises(SystemExit) as ended:
        run_script(fails)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: here.csv: no such file\n"
    run_script(lambda: None)


def test_every_script_says_it_that_way() -> None:
    scripts = [
        file
        for room in ("baselines", "generation", "benchmarks")
        for file in (ROOT / room).rglob("*.py")
        if "__main__" in file.read_text(encoding="utf-8")
    ]
    assert len(scripts) > 10
    assert not [str(file) for file in scripts if "run_script(main)" not in file.read_text(encoding="utf-8")]
