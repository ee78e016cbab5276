"""The tracker: what TensorBoard reads back is what happened, also after a kill, and it lies on the private side."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

PROMPTS = ["ptosis", "scc"]
FINGERPRINT = "0123456789abcdef"


@pytest.fixture
def watched(settings):
    return settings.model_copy(
        update={"tracker": "tensorboard", "held_out": 0.3, "evaluate_every": 2, "sample_every": 3}
    )


def records(folder) -> EventAccumulator:
    run = folder / "private" / "tracker" / FINGERPRINT[:12]
    return EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0}).Reload()


@pytest.mark.parametrize("killed", [False, True])
def test_losses_rate_and_samples_are_recorded(run, watched, kill_at_step, tmp_path, killed):
    if killed:
        kill_at_step(5)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, watched, fingerprint=FINGERPRINT, prompts=PROMPTS)
        lost = {event.step: event.value for event in records(tmp_path).Scalars("loss/training")}
        assert list(lost) == [1, 2, 3, 4, 5], "step 5 came after the last saved state"
    curves = run(tmp_path, watched, fingerprint=FINGERPRINT, prompts=PROMPTS)
    made = records(tmp_path)
    scalars = {
        tag: [(event.step, pytest.approx(event.value, rel=1e-6)) for event in made.Scalars(tag)]
        for tag in made.Tags()["scalars"]
    }
    assert scalars == {
        "loss/training": list(enumerate(curves.losses, start=1)),
        "rate": [(step + 1, watched.rate_at(step, 6)) for step in range(6)],
        "loss/held-out": list(curves.held_out.items()),
    }
    assert made.Tags()["images"] == ["samples/ptosis", "samples/scc"]
    pictures = {tag: made.Images(tag) for tag in made.Tags()["images"]}
    assert all([event.step for event in events] == [3, 6] for events in pictures.values())
    decoded = [
        np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
        for events in pictures.values()
        for event in events
    ]
    assert {picture.shape for picture in decoded} == {(32, 32, 3)} and all(picture.std() > 0 for picture in decoded)
    assert not np.array_equal(decoded[0], decoded[1]), "the model moved between the steps"
    settings = made.Tensors("settings/text_summary")[-1].tensor_proto.string_val[0]
    assert json.loads(settings)["held_out"] == 0.3
    assert not list((tmp_path / "output").rglob("*tfevents*"))


def test_watching_changes_nothing(run, watched, settings, tmp_path):
    blind = settings.model_copy(update={"held_out": 0.3, "evaluate_every": 2})
    assert run(tmp_path / "watched", watched, prompts=PROMPTS) == run(tmp_path / "blind", blind)
    files = [tmp_path / name / "output" / "pytorch_lora_weights.safetensors" for name in ("watched", "blind")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not (tmp_path / "blind" / "private" / "tracker").exists()
