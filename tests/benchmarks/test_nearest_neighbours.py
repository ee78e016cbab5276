"""The race on a few vectors: all sides find the same, and the table says so."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("faiss")

from benchmarks import nearest_neighbours
from benchmarks.nearest_neighbours import Size, agreement, main, products, vectors


def test_all_sides_find_the_same(tmp_path, capsys):
    file = tmp_path / "performance.md"
    file.write_text("# Performance\n")
    small = ["--probes", "900", "--gallery", "700", "--dimension", "16", "--recognisers", "2", "--neighbours", "2"]
    main([*small, "--threads", "1", "--rounds", "1", "--write", str(file)])
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line.startswith("| ")]
    header, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line]
    assert [row[0] for row in rows] == list(nearest_neighbours.SIDES)
    assert min(float(row[2]) for row in rows[:2]) == 1
    same, off = header.index("same neighbours as ours"), header.index("distances off by at most")
    assert [row[same] for row in rows[2:]] == ["100.0000%"] * 3
    assert float(rows[2][off]) == 0 and all(float(row[off]) < 1e-2 for row in rows[3:])
    assert all(float(row[header.index("peak memory, GiB")]) > 0 for row in rows)
    assert printed.strip() in file.read_text()


def test_one_probe_in_a_hundred_is_a_near_duplicate():
    ((probes, gallery),) = vectors(Size(300, 200, 64, 1, 1))
    gaps = np.linalg.norm(probes[:, None] - gallery[None], axis=2).min(axis=1)
    assert np.flatnonzero(gaps < 1e-3).tolist() == [0, 100, 200]


def test_products_are_of_everything(monkeypatch):
    sizes = []
    real = np.matmul

    def counted(left, right, out):
        sizes.append(len(left) * right.shape[1])
        return real(left, right, out=out)

    monkeypatch.setattr(nearest_neighbours.np, "matmul", counted)
    products(np.ones((70, 4), np.float32), np.ones((50, 4), np.float32), 32, 16)
    assert sum(sizes) == 70 * 50


def test_a_wrong_neighbour_is_told():
    exact = [(np.array([[1], [2]]), np.array([[0.1], [0.2]]))]
    assert agreement([(np.array([[1], [0]]), np.array([[0.1], [0.5]]))], exact) == ("50.0000%", "3.0e-01")
    assert agreement([], exact) == ("–", "–")
