"""Training: it learns, resumes to the bit, is the same however it is shared, and says what it lacks."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from baselines.medsem_deid import training
from baselines.medsem_deid.model_file import FILE
from baselines.medsem_deid.photos import gather
from baselines.medsem_deid.training import LOSSES_FILE, PREVIEW_FILE, draw_batch, train
from mema.errors import UserError


def test_it_learns_to_recover(parameters, change, people, tmp_path):
    longer = change(parameters, schedule={"steps": 40, "save_every": 8, "rate": 2e-3, "halve_after": 40})
    train(longer, tmp_path, release=people.path)
    header, *rows = (tmp_path / LOSSES_FILE).read_text().splitlines()
    names = header.split(",")
    assert names[:3] == ["step", "deidentify", "recover_identity"]
    assert [row.split(",")[0] for row in rows] == ["8", "16", "24", "32", "40"]
    recover = [float(row.split(",")[names.index("recover")]) for row in rows]
    assert recover[-1] < 0.8 * recover[0]
    with Image.open(tmp_path / PREVIEW_FILE) as sheet:
        assert sheet.size == (6 * 32, 4 * 32)


def test_a_killed_training_resumes_to_the_bit(parameters, change, people, tmp_path, monkeypatch):
    train(parameters, tmp_path / "whole", release=people.path)
    begun = []

    def dies(schedule, step, count):
        begun.append(step)
        if step == 3 and begun.count(3) == 1:
            raise KeyboardInterrupt
        return draw_batch(schedule, step, count)

    monkeypatch.setattr(training, "draw_batch", dies)
    with pytest.raises(KeyboardInterrupt):
        train(parameters, tmp_path / "killed", release=people.path)
    assert (tmp_path / "killed" / FILE).is_file(), "what was learnt until the last saving can be used"
    train(parameters, tmp_path / "killed", release=people.path)
    # 0 is drawn once more for each preview, after iterations 1, 3 and 4.
    assert [step for step in begun if step] == [1, 2, 3, 2, 3, 4]
    for name in (FILE, LOSSES_FILE, PREVIEW_FILE):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_more_steps_go_on_and_other_settings_begin_anew(parameters, change, people, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(training, "draw_batch", lambda *a: begun.append(a[1]) or draw_batch(*a))
    short = change(parameters, schedule={"steps": 2})
    train(short, tmp_path, release=people.path)
    begun.clear()
    train(change(short, schedule={"steps": 3}), tmp_path, release=people.path)
    assert begun == [2, 0]
    begun.clear()
    train(change(short, loss={"medical": 0.0}), tmp_path, release=people.path)
    assert begun[:2] == [0, 1]


def test_ablations_train(parameters, change, people, tmp_path):
    short = change(parameters, schedule={"steps": 1, "data": "donors"}, network={"medical": False}, loss={"medical": 0})
    short = change(short, encoder={"weights": "nowhere"})
    assert train(short, tmp_path / "m1", donors=people.path).is_file()
    with pytest.raises(UserError, match="give --donors"):
        train(short, tmp_path / "m1", release=people.path)


def test_bfloat16_trains(parameters, change, people, tmp_path):
    assert train(
        change(parameters, schedule={"steps": 1, "precision": "bf16"}), tmp_path, release=people.path
    ).is_file()


def test_a_batch_is_a_function_of_seed_and_step(parameters):
    schedule = parameters.schedule
    one, same, other = draw_batch(schedule, 3, 6), draw_batch(schedule, 3, 6), draw_batch(schedule, 4, 6)
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one.passwords, other.passwords)
    assert len(set(one.photos.tolist())) == len(one.photos)
    assert (one.passwords != one.wrong).mean() > 0.05


def test_photos_are_resized_and_decoded_once(people, tmp_path):
    photos = gather([people, people], 16, tmp_path)
    assert photos.images.shape == (12, 16, 16, 3)
    assert np.abs(photos.images[0].astype(float).mean() - people.images()[0].mean()) < 1
    before = (tmp_path / "photos.npy").stat().st_mtime_ns
    assert gather([people, people], 16, tmp_path).digest == photos.digest
    assert (tmp_path / "photos.npy").stat().st_mtime_ns == before
    assert gather([people], 16, tmp_path).digest != photos.digest
