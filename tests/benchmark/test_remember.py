"""What is kept is not computed again, and reads the same as when it was."""

from __future__ import annotations

from pathlib import Path

from benchmark.remember import remembered


def test_a_value_is_computed_once_for_all_that_it_depends_on(tmp_path: Path) -> None:
    computed = []

    def compute() -> dict[str, float]:
        computed.append(len(computed))
        return {"z": 0.1 + 0.2, "a": 1 / 3}

    first = remembered(tmp_path / "deep" / "kept.json", {"of": 1}, compute)
    again = remembered(tmp_path / "deep" / "kept.json", {"of": 1}, compute)
    assert list(first.items()) == list(again.items())
    assert first == {"z": 0.1 + 0.2, "a": 1 / 3}
    assert computed == [0]
    remembered(tmp_path / "deep" / "kept.json", {"of": 2}, compute)
    assert computed == [0, 1]
