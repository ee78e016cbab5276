"""ArcFace, CosFace, FaceNet and SphereFace: the real libraries on weights made here, and a photo of a real face."""

import numpy as np
import pytest
import torch

pytest.importorskip("dlib")
pytest.importorskip("insightface")
pytest.importorskip("facenet_pytorch")

from recogniser_weights import (
    ZOO,
    linear_recogniser,
    sphere20a_weights,
    write_facenet,
    write_insightface,
    write_sphereface,
)

from mema.errors import UserError
from mema.faces.alignment import boxes, chips, five_points
from mema.faces.detector import landmarks
from mema.faces.recognisers import recogniser
from mema.weights import locate, table

WEIGHTS = {
    "arcface": "insightface/arcface",
    "cosface": "insightface/cosface",
    "facenet-casia-webface": "facenet/casia-webface",
    "facenet-vggface2": "facenet/vggface2",
    "sphereface": "sphereface/sphere20a",
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for write in (write_insightface, write_facenet, write_sphereface):
        write(folder)
    return folder


@pytest.fixture(scope="module")
def photos(astronaut, phantoms, blank):
    """She, she again further left, someone else, and nobody: uint8 (4, 256, 256, 3)."""
    larger = [image.repeat(2, axis=0).repeat(2, axis=1) for image in (phantoms[0][0], blank[0])]
    return np.stack([astronaut, np.roll(astronaut, -9, axis=1), *larger])


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_face_is_known_again_where_it_moved(name, placed, photos):
    instrument = recogniser(name)
    seen = instrument.embed(photos)
    assert (instrument.name, instrument.dimension) == (name, 512)
    assert seen.vectors.dtype == np.float32 and seen.found.tolist() == [True, True, True, False]
    np.testing.assert_allclose(np.linalg.norm(seen.vectors, axis=1), 1, atol=1e-5)
    moved, other = np.linalg.norm(seen.vectors[1:3] - seen.vectors[0], axis=1)
    assert moved < other / 2
    for row in (1, 3):
        alone = instrument.embed(photos[row : row + 1])
        np.testing.assert_allclose(alone.vectors[0], seen.vectors[row], atol=1e-4)
    assert instrument.embed(photos[:0]).vectors.shape == (0, 512)


@pytest.mark.parametrize("name", ["arcface", "cosface"])
def test_insightface_says_what_the_library_says(name, placed, photos):
    from insightface.app.common import Face
    from insightface.model_zoo import get_model

    library = get_model(str(locate(f"insightface/{name}")))
    ours = recogniser(name).embed(photos[:3])
    for row, points in enumerate(five_points(landmarks(photos[:3]))):
        said = library.get(np.ascontiguousarray(photos[row][..., ::-1]), Face(kps=points))
        np.testing.assert_allclose(ours.vectors[row], said / np.linalg.norm(said), atol=1e-4)


@pytest.mark.parametrize("data", ["vggface2", "casia-webface"])
def test_facenet_says_what_the_library_says(data, placed, photos):
    from facenet_pytorch import MTCNN, InceptionResnetV1
    from PIL import Image

    library = InceptionResnetV1(classify=True, num_classes={"vggface2": 8631, "casia-webface": 10575}[data]).eval()
    library.load_state_dict(torch.load(locate(f"facenet/{data}"), weights_only=True))
    library.classify = False
    # The library's way from a photo and a box to a vector.
    cutter = MTCNN(post_process=True)
    places = boxes(landmarks(photos[:3]))
    faces = cutter.extract([Image.fromarray(photo) for photo in photos[:3]], list(places[:, None]), None)
    with torch.inference_mode():
        said = library(torch.stack(faces)).numpy()
    np.testing.assert_allclose(recogniser(f"facenet-{data}").embed(photos[:3]).vectors, said, atol=1e-4)


def test_sphereface_is_the_network_of_its_paper(placed, photos):
    """Twenty layers written out from Table 2: convolutions of stride 2, each followed by residual pairs."""
    from torch.nn.functional import conv2d, linear, prelu

    weights = sphere20a_weights()
    chip = chips(photos[:1])[0][:, :, 8:104, ::-1]
    features = (torch.from_numpy(chip.astype(np.float32)).permute(0, 3, 1, 2) - 127.5) / 128

    def layer(given, stage, place, stride):
        name = f"{stage}_{place}"
        summed = conv2d(given, weights[f"conv{name}.weight"], weights[f"conv{name}.bias"], stride, 1)
        return prelu(summed, weights[f"relu{name}.weight"])

    for stage, pairs in ((1, [2]), (2, [2, 4]), (3, [2, 4, 6, 8]), (4, [2])):
        features = layer(features, stage, 1, 2)
        for place in pairs:
            features = features + layer(layer(features, stage, place, 1), stage, place + 1, 1)
    assert features.shape == (1, 512, 7, 6)
    said = linear(features.flatten(1), weights["fc5.weight"], weights["fc5.bias"])[0].numpy()
    np.testing.assert_allclose(
        recogniser("sphereface").embed(photos[:1]).vectors[0], said / np.linalg.norm(said), atol=1e-4
    )


def test_chips_are_upright_and_boxes_hold_the_face(astronaut):
    tilted = np.rot90(astronaut, 2)[::-1]  # mirrored
    cut, found = chips(np.stack([astronaut, tilted]))
    assert found.all() and cut.shape == (2, 112, 112, 3)
    # Her eyes by hand, and where InsightFace wants them.
    points = five_points(landmarks(astronaut[None]))[0]
    np.testing.assert_allclose(points[:2], [(107, 102), (151, 104)], atol=4)
    assert np.abs(cut[0].astype(int) - cut[1][:, ::-1]).mean() < 12
    left, top, right, bottom = boxes(landmarks(astronaut[None]))[0]
    assert left < 90 and right > 165 and 30 < top < 75 and 150 < bottom < 190


@pytest.mark.parametrize("name", WEIGHTS)
def test_missing_weights_are_named_with_place_and_licence(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MEMA_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError) as error:
        recogniser(name)
    row = table()[WEIGHTS[name]]
    for part in (str(tmp_path / row.path), row.licence, row.origin):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_damaged_file_is_named(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MEMA_WEIGHTS", str(tmp_path))
    path = tmp_path / table()[WEIGHTS[name]].path
    path.parent.mkdir(parents=True)
    path.write_bytes(b"<html>Not Found</html>")
    with pytest.raises(UserError, match=path.name):
        recogniser(name)


@pytest.mark.parametrize("name", ["facenet-vggface2", "sphereface"])
def test_weights_of_another_network_are_named(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MEMA_WEIGHTS", str(tmp_path))
    path = tmp_path / table()[WEIGHTS[name]].path
    path.parent.mkdir(parents=True)
    torch.save({"layer.weight": torch.zeros(2)}, path)
    with pytest.raises(UserError, match="not the weights of"):
        recogniser(name)


def test_a_network_of_other_numbers_is_named(tmp_path, monkeypatch):
    from onnx import save

    monkeypatch.setenv("MEMA_WEIGHTS", str(tmp_path))
    path = tmp_path / ZOO / "glint360k_cosface_r50.onnx"
    path.parent.mkdir(parents=True)
    save(linear_recogniser(1, 0, numbers=128), path)
    with pytest.raises(UserError, match="512 numbers"):
        recogniser("cosface")
