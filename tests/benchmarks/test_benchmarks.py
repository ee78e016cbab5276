"""The benchmarks run on a tiny generator: both sides draw the same pictures, both train, and the tables say so."""

from __future__ import annotations

import pytest

from benchmarks import common, sampling, training
from mema.errors import UserError


def cells(text: str) -> list[list[str]]:
    """The rows of the Markdown table in ``text``."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line]


def test_both_samplers_make_the_same_pictures(tiny_generator, tmp_path, capsys):
    file = tmp_path / "performance.md"
    file.write_text("# Performance\n")
    weights = ["--checkpoint", str(tiny_generator / "sd"), "--adapter", str(tiny_generator / "adapter")]
    small = ["--device", "cpu", "--size", "32", "--images", "3", "--batch", "2", "--steps", "3", "--rounds", "1"]
    sampling.main([*weights, *small, "--precision", "no", "--write", str(file)])
    printed = capsys.readouterr().out
    header, plain, ours = cells(printed)
    assert (plain[0], ours[0]) == ("plain diffusers", "ours")
    assert float(plain[2]) > 0 and float(plain[3]) == 1 and float(ours[3]) > 0
    assert int(ours[header.index("largest")]) <= 1, "grey levels"
    assert printed.strip() in file.read_text()


def test_both_trainings_take_steps(tiny_generator, capsys):
    small = ["--device", "cpu", "--size", "32", "--photos", "4", "--batch", "2", "--steps", "8", "--rounds", "1"]
    training.main(["--checkpoint", str(tiny_generator / "sd"), *small, "--rank", "4", "--precision", "no"])
    header, recipe, ours = cells(capsys.readouterr().out)
    assert (recipe[0], ours[0]) == ("diffusers' recipe", "ours") and float(recipe[3]) == 1
    assert float(ours[header.index("ratio over 10 epochs with caching")]) <= float(ours[header.index("ratio")])
    assert all(float(row[header.index("steps/s")]) > 0 for row in (recipe, ours))


def test_a_section_is_replaced_and_the_rest_is_kept(tmp_path):
    file = tmp_path / "page.md"
    file.write_text("before\n")
    common.write_section(file, "one", "first")
    common.write_section(file, "two", "other")
    common.write_section(file, "one", "second")
    lines = file.read_text().splitlines()
    assert "second" in lines and "other" in lines and "first" not in lines
    assert lines[0] == "before" and lines.index("second") < lines.index("other")
    with pytest.raises(UserError, match="no such file"):
        common.write_section(tmp_path / "none.md", "one", "text")


def test_the_peak_of_a_matrix_product_is_plausible():
    import torch

    assert 1e8 < common.matrix_peak("cpu", torch.float32) < 1e14
    product = torch.ones(8, 16), torch.ones(16, 4)
    assert common.count_operations(lambda: product[0] @ product[1]) == 2 * 8 * 16 * 4
