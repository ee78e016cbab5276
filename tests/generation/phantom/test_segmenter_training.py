import json

import numpy as np
import pytest
import torch

from generation.phantom.training import segmenter as training
from generation.phantom.training.segmenter_data import SIZE, Lesions, lesion_case, rendered_lesions
from mema.errors import UserError

PHOTOS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lesions")
    rendered_lesions(folder, PHOTOS)
    return folder


@pytest.fixture(scope="module")
def lesions(folder):
    return Lesions(*map(np.array, rendered_lesions(folder, PHOTOS)))


def test_rendering_goes_on_where_it_stopped(folder, lesions):
    (folder / "progress.json").write_text(json.dumps({"photos": PHOTOS, "done": 4}))
    images = np.lib.format.open_memmap(folder / "images.npy", "r+")
    images[4] = 0
    images.flush()
    again = rendered_lesions(folder, PHOTOS)
    assert np.array_equal(again.images, lesions.images)
    assert np.array_equal(again.masks, lesions.masks)
    with pytest.raises(UserError, match="holds 5 photos, not 6"):
        rendered_lesions(folder, PHOTOS + 1)


def test_a_tumour_is_one_object_and_plaques_are_several(lesions):
    found = training.objects(lesions)
    assert [lesion_case(row).disease for row in range(PHOTOS)] == ["bcc", "scc", "bcc", "scc", "psoriasis"]
    for row in range(4):
        assert np.array_equal(found[row] == 1, lesions.masks[row])
    names = np.setdiff1d(found[4], (0, training.IGNORED))
    assert len(names) > 1
    assert np.array_equal(found[4] > 0, lesions.masks[4])
    assert all((found[4] == name).sum() >= training.SMALLEST for name in names)


@pytest.mark.parametrize("kind", ["click", "box", "clicks"])
@pytest.mark.parametrize("side", [32, 128])
def test_a_sample_shows_an_object_and_a_prompt_of_it(lesions, kind, side):
    found = training.objects(lesions)
    rows = np.arange(4)
    for seed in range(5):
        sample = training.draw(lesions, found, rows, kind, side, np.random.default_rng(seed))
        assert sample.pixels.shape == (4, 3, side, side)
        assert sample.points.shape[1] == {"click": 1, "box": 2, "clicks": 3}[kind]
        for row in range(4):
            x, y = (sample.points[row, 0] - sample.corner[row] * training.PATCH).round().int().tolist()
            if kind != "box":
                assert 0 <= x < side
                assert 0 <= y < side
                assert bool(sample.target[row, y, x]) != bool(sample.beside[row])


def test_a_whole_photo_is_predicted_as_the_library_predicts_it(lesions):
    model = training.build().eval()
    sample = training.draw(lesions, training.objects(lesions), np.arange(4), "click", SIZE, np.random.default_rng(0))
    with torch.no_grad():
        logits, quality = training.predict(model, sample)
        out = model(
            pixel_values=sample.pixels, input_points=sample.points[:, None], input_labels=sample.labels[:, None]
        )
    assert torch.allclose(logits, out.pred_masks[:, 0, 0], atol=1e-5)
    assert torch.allclose(quality, out.iou_scores[:, 0, 0], atol=1e-5)


def test_pixels_are_normalised_as_the_processor_does(lesions):
    theirs = training.processor()(images=lesions.images[0], return_tensors="pt")["pixel_values"][0]
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (training.MEAN, training.DEVIATION))
    ours = (torch.from_numpy(lesions.images[0]).permute(2, 0, 1) / 255 - mean) / deviation
    assert torch.allclose(theirs, ours, atol=1e-5)


def test_it_learns(lesions):
    found = training.objects(lesions)
    model = training.build()
    optimiser = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad])
    reached = []
    for step in range(40):
        sample = training.draw(lesions, found, np.arange(4), "box", 32, np.random.default_rng([7, step]))
        parts = training.losses(*training.predict(model, sample), sample)
        training.optimise(optimiser, 0.5 * parts["entropy"] + parts["dice"] + parts["quality"], 2e-3)
        reached.append(float(parts["dice"].detach()))
    assert np.mean(reached[-5:]) < 0.75 * np.mean(reached[:5])
