"""The real libraries on weights made here (attribute_weights.py), and dlib and DeepFace on a photo of a real face."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("deepface")
pytest.importorskip("insightface")

from attribute_weights import BUFFALO, DEEPFACE, write_attribute_weights

from mema.errors import UserError
from mema.faces.attributes import ESTIMATORS, estimator
from mema.weights import locate, table

NAMES = ("deepface", "insightface")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_attribute_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def portraits(astronaut):
    """The portrait as it is, reddish, bluish, dark, and nobody: uint8 (5, 256, 256, 3)."""
    tints = np.array([[1, 1, 1], [1, 0.6, 0.4], [0.4, 0.6, 1], [0.5, 0.5, 0.5], [0, 0, 0]])
    return (astronaut * tints[:, None, None]).astype(np.uint8)


@pytest.fixture(scope="module")
def spots():
    """Plain photos with a spot bright enough for the made detector, and one without: uint8 (4, 256, 256, 3)."""
    images = np.empty((4, 256, 256, 3), np.uint8)
    images[:] = np.array([(190, 150, 120), (120, 150, 190), (60, 50, 40), (150, 150, 150)])[:, None, None]
    images[:3, 104:152, 104:152] = 250
    return images


def test_deepface_reads_faces(placed, portraits):
    said = estimator("deepface").estimate(portraits)
    assert said.ages.dtype == np.float32
    assert said.genders.tolist()[1:] == ["female", "male", said.genders[0], None]
    assert np.isnan(said.ages).tolist() == [False] * 4 + [True]
    # The made network says the brightness of the aligned face: half as bright, half as old.
    assert said.ages[3] == pytest.approx(said.ages[0] / 2, abs=1)
    face = portraits[0][40:150, 80:180]
    assert said.ages[0] == pytest.approx(100 * face.mean() / 255, abs=8)


def test_deepface_says_what_the_library_says(placed, portraits, monkeypatch):
    monkeypatch.setenv("DEEPFACE_HOME", str(placed / "deepface"))
    monkeypatch.setenv("DEEPFACE_BACKEND_ENGINE", "onnx")
    monkeypatch.setattr("deepface.commons.backend_utils._backend_engine", None)
    from deepface import DeepFace

    said = estimator("deepface").estimate(portraits[:4])
    for row, photo in enumerate(portraits[:4]):
        faces = DeepFace.analyze(photo[..., ::-1], actions=["age", "gender"], silent=True)
        largest = max(faces, key=lambda face: face["region"]["w"] * face["region"]["h"])
        assert largest["age"] == int(said.ages[row])
        assert {"Woman": "female", "Man": "male"}[largest["dominant_gender"]] == said.genders[row]


def test_insightface_reads_faces(placed, spots):
    said = estimator("insightface").estimate(spots)
    assert said.ages.dtype == np.float32
    assert said.genders.tolist() == ["female", "male", "female", None]
    assert np.isnan(said.ages[3])
    # The library cuts out 1.5 boxes, here 96 px about the spot; the made network says 100 x their brightness.
    crops = spots[:3, 80:176, 80:176].reshape(3, -1).mean(axis=1)
    np.testing.assert_allclose(said.ages[:3], 100 * crops / 255, atol=1)


def test_insightface_says_what_the_library_says(placed, spots):
    from insightface.app import FaceAnalysis

    library = FaceAnalysis("buffalo_l", root=str(placed / "insightface"), allowed_modules=["detection", "genderage"])
    library.prepare(0)
    said = estimator("insightface").estimate(spots)
    for row, photo in enumerate(spots):
        faces = library.get(photo[..., ::-1], max_num=1, det_metric="max")
        assert len(faces) == (0 if np.isnan(said.ages[row]) else 1)
        for face in faces:
            assert face.age == said.ages[row]
            assert {"F": "female", "M": "male"}[face.sex] == said.genders[row]


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_says_what_its_photos_say_alone(name, placed, portraits, spots):
    photos = portraits if name == "deepface" else spots
    instrument = estimator(name)
    whole = instrument.estimate(photos)
    for row in range(len(photos)):
        alone = instrument.estimate(photos[row : row + 1])
        np.testing.assert_allclose(alone.ages, whole.ages[row : row + 1], atol=1e-3)
        assert alone.genders[0] == whole.genders[row]
    nothing = instrument.estimate(photos[:0])
    assert nothing.ages.shape == nothing.genders.shape == (0,)
    assert instrument.name == name
    assert instrument.revision == estimator(name).revision


@pytest.mark.parametrize("name", NAMES)
def test_missing_weights_are_named_with_place_and_licence(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MEMA_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError) as error:
        estimator(name)
    first = {"deepface": "deepface/age", "insightface": "insightface/detector"}[name]
    assert str(tmp_path / table()[first].path) in str(error.value)
    assert table()[first].licence in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["deepface/age", "deepface/gender", "insightface/detector", "insightface/genderage"])
def test_a_damaged_file_is_named(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MEMA_WEIGHTS", str(write_attribute_weights(tmp_path)))
    locate(name).write_bytes(b"<html>Not Found</html>")
    with pytest.raises(UserError, match=locate(name).name):
        estimator(name.split("/")[0])


def test_another_network_in_a_file_s_place_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MEMA_WEIGHTS", str(write_attribute_weights(tmp_path)))
    (tmp_path / BUFFALO / "genderage.onnx").write_bytes((tmp_path / BUFFALO / "det_10g.onnx").read_bytes())
    with pytest.raises(UserError, match="not InsightFace's network for genderage"):
        estimator("insightface")


def test_other_weights_are_another_revision(tmp_path, monkeypatch, placed):
    before = estimator("deepface").revision
    monkeypatch.setenv("MEMA_WEIGHTS", str(write_attribute_weights(tmp_path)))
    assert estimator("deepface").revision == before
    age = tmp_path / DEEPFACE / "age_model_weights.onnx"
    # A field that onnxruntime does not know changes the file and nothing else.
    import onnx

    model = onnx.load(age)
    model.doc_string = "changed"
    onnx.save(model, age)
    assert estimator("deepface").revision != before


def test_the_user_s_own_deepface_folder_stays_in_force(placed, monkeypatch):
    monkeypatch.setenv("DEEPFACE_HOME", "/somewhere/else")
    estimator("deepface")
    assert os.environ["DEEPFACE_HOME"] == "/somewhere/else"
    monkeypatch.delenv("DEEPFACE_HOME")
    estimator("deepface")
    assert "DEEPFACE_HOME" not in os.environ


def test_names_are_listed_without_loading_a_library():
    program = (
        "import sys; from mema.faces.attributes import ESTIMATORS; print(*ESTIMATORS.names());"
        "print(*{'deepface', 'insightface', 'cv2', 'onnxruntime', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    names, loaded = done.stdout.splitlines()
    assert set(NAMES) <= set(names.split())
    assert loaded == ""
    with pytest.raises(UserError, match="did you mean 'deepface'"):
        ESTIMATORS.load("deepfaces")


def test_dlib_reads_a_real_face(astronaut, phantoms):
    """The instruments that judge phantoms see a photographed person, and know her again."""
    pytest.importorskip("dlib")
    from mema.faces.detector import detect, landmarks
    from mema.faces.recognisers import recogniser

    moved = np.roll(astronaut, (6, -9), axis=(0, 1))
    dimmed = (astronaut * 0.7).astype(np.uint8)
    photos = np.stack([astronaut, moved, dimmed, astronaut[:, ::-1]])
    assert detect(photos).all()
    points = landmarks(photos)
    right, left = points[:, 36:42].mean(axis=1), points[:, 42:48].mean(axis=1)
    # Her eyes, by hand, and the same ones moved with the photo.
    np.testing.assert_allclose(right[0], (107, 102), atol=4)
    np.testing.assert_allclose(left[0], (151, 104), atol=4)
    np.testing.assert_allclose(right[1] - right[0], (-9, 6), atol=3)

    dlib = recogniser("dlib")
    own, others = dlib.embed(photos), dlib.embed(phantoms[0][::3])
    assert own.found.all()
    to_herself = np.linalg.norm(own.vectors[1:] - own.vectors[0], axis=1)
    to_phantoms = np.linalg.norm(others.vectors - own.vectors[0], axis=1)
    assert 2 * to_herself.max() < to_phantoms.min()
