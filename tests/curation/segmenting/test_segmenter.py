import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sam_weights import write_original, write_transformers
from scipy.ndimage import distance_transform_edt

from curation.segmenting.segmenter import Prompt, load_segmenter
from generation.phantom.measure_segmenter import measure_segmenter, tumour_cases
from generation.phantom.render import render_batch
from mema.errors import UserError

PATIENTS, LEAST_IOU = 8, 0.75
HEIGHT, WIDTH = 40, 56
IMAGE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
CLICK = Prompt(((30.0, 11.0),), (True,))
CLICKS = Prompt(((30.0, 11.0), (5.0, 33.0)), (True, False))
BOX = Prompt(box=(10.0, 5.0, 44.0, 31.0))
BOTH = Prompt(((30.0, 11.0),), (True,), (10.0, 5.0, 44.0, 31.0))


@pytest.fixture(scope="module", params=["sam", "sam_hq", "sam2", "original"])
def checkpoint(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "original":
        return write_original(folder / "sam_tiny.pth")
    return write_transformers(request.param, folder)


@pytest.fixture(scope="module")
def segmenter(checkpoint):
    return load_segmenter(str(checkpoint))


@pytest.mark.parametrize("prompt", [CLICK, CLICKS, BOX, BOTH], ids=["click", "clicks", "box", "both"])
def test_the_library_itself_gives_the_same_mask(segmenter, checkpoint, prompt):
    (found,) = segmenter.segment(segmenter.embed(IMAGE), [prompt])
    assert found.mask.shape == (HEIGHT, WIDTH)
    assert found.mask.dtype == bool
    masks, scores = (by_package if checkpoint.suffix == ".pth" else by_processor)(checkpoint, prompt)
    best = int(np.argmax(scores))
    assert np.array_equal(found.mask, masks[best])
    assert found.score == pytest.approx(float(scores[best]), abs=1e-5)


def by_processor(folder, prompt):
    """As the library's documentation tells users to do it, from pixels to masks."""
    import transformers

    names = {"SamModel": "SamProcessor", "SamHQModel": "SamHQProcessor", "Sam2Model": "Sam2Processor"}
    kind = transformers.AutoConfig.from_pretrained(folder).architectures[0]
    model = getattr(transformers, kind).from_pretrained(folder).eval()
    processor = getattr(transformers, names[kind]).from_pretrained(folder)
    given = {}
    if prompt.points:
        given = {
            "input_points": [[[list(point) for point in prompt.points]]],
            "input_labels": [[list(map(int, prompt.inside))]],
        }
    if prompt.box:
        given["input_boxes"] = [[list(prompt.box)]]
    inputs = processor(images=IMAGE, return_tensors="pt", **given)
    undo = {key: inputs[key] for key in ("original_sizes", "reshaped_input_sizes") if key in inputs}
    inputs = {key: value.float() if value.is_floating_point() else value for key, value in inputs.items()}
    sizes = {key: inputs.pop(key) for key in undo}
    with torch.no_grad():
        out = model(**inputs, multimask_output=prompt.box is None and len(prompt.points) == 1)
    masks = processor.post_process_masks(out.pred_masks, **sizes)[0]
    return masks[0].numpy(), out.iou_scores[0, 0].numpy()


def by_package(path, prompt):
    """As the authors' notebook does it; their own builder knows the published sizes only."""
    from segment_anything import SamPredictor

    from curation.segmenting.sam_original import build

    weights = torch.load(path, weights_only=True)
    model = build(weights)
    model.load_state_dict(weights)
    predictor = SamPredictor(model.eval())
    predictor.set_image(IMAGE)
    masks, scores, _ = predictor.predict(
        point_coords=np.array(prompt.points) if prompt.points else None,
        point_labels=np.array(prompt.inside, int) if prompt.points else None,
        box=np.array(prompt.box) if prompt.box else None,
        multimask_output=prompt.box is None and len(prompt.points) == 1,
    )
    return masks, scores


def test_prompts_together_and_after_another_image_give_what_each_gives_alone(segmenter):
    first, second = segmenter.embed(IMAGE), segmenter.embed(IMAGE[::-1])
    other = Prompt(((3.0, 35.0),), (True,))
    together = segmenter.segment(first, [CLICK, other])
    for prompt, found in zip((CLICK, other), together, strict=True):
        (alone,) = segmenter.segment(first, [prompt])
        assert found.score == pytest.approx(alone.score, abs=1e-4)
        assert np.mean(found.mask != alone.mask) < 0.01
    (turned,) = segmenter.segment(second, [CLICK])
    assert not np.array_equal(turned.mask, together[0].mask)
    assert not np.array_equal(together[0].mask, together[1].mask)


def test_what_is_missing_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MEMA_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match=r"'sam/vit-b' are missing: looked for .*sam_vit_b_01ec64\.pth; .*Apache-2\.0"):
        load_segmenter("sam/vit-b")
    with pytest.raises(UserError, match="neither a name that `mema weights` lists nor a file or folder"):
        load_segmenter(str(tmp_path / "nothing.pth"))


def test_what_is_not_sam_is_refused(tmp_path):
    (tmp_path / "noise.pth").write_bytes(b"noise")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    for name in ("noise.pth", "other.pth"):
        with pytest.raises(UserError, match="not a checkpoint of segment_anything"):
            load_segmenter(str(tmp_path / name))
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="a model of type 'bert' is none of sam, "):
        load_segmenter(str(folder))
    (folder / "config.json").write_text('{"model_type": "sam"}')
    with pytest.raises(UserError, match="not a checkpoint that SamModel opens"):
        load_segmenter(str(folder))


class Payload:
    def __reduce__(self):
        return Path.touch, (Path("opened"),)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Payload()))
    torch.save({"image_encoder.pos_embed": Payload()}, tmp_path / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):
        with pytest.raises(UserError, match="not a checkpoint of segment_anything"):
            load_segmenter(str(tmp_path / name))
    assert not (tmp_path / "opened").exists()


def test_a_checkpoint_with_weights_missing_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = write_transformers("sam", tmp_path / "sam")
    weights = load_file(folder / "model.safetensors")
    del weights["mask_decoder.iou_token.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"weights are missing, mask_decoder\.iou_token\.weight first"):
        load_segmenter(str(folder))


def test_the_shipped_segmenter_outlines_a_phantoms_tumour_from_one_click():
    """The backend's way and the way of ``mema phantom segmenter`` agree, in photos of other sizes too."""
    segmenter = load_segmenter("phantom-segmenter")
    cases = tumour_cases(PATIENTS, seed=1)
    reached = {128: [], 192: []}
    for photo in render_batch([(case.subject, case.shots[0], case.finding) for case in cases]):
        depth = distance_transform_edt(np.pad(photo.lesion, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        for size in reached:
            resize = partial(Image.Image.resize, size=(size, size), resample=Image.Resampling.BILINEAR)
            image = np.asarray(resize(Image.fromarray(photo.image)))
            truth = np.asarray(resize(Image.fromarray(photo.lesion.astype(np.uint8) * 255))) > 127
            click = tuple((np.array([x, y]) + 0.5) * size / 128 - 0.5)
            (found,) = segmenter.segment(segmenter.embed(image), [Prompt((click,), (True,))])
            reached[size].append((found.mask & truth).sum() / (found.mask | truth).sum())
    report = measure_segmenter(PATIENTS, seed=1)
    assert np.mean(reached[128]) == pytest.approx(report["one_click"], abs=0.005)
    assert report["one_click"] > LEAST_IOU
    assert np.mean(reached[192]) > LEAST_IOU - 0.05
    assert report["told"] > 0.9
