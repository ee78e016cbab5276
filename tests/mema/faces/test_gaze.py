"""Angles and directions, L2CS-Net on weights of the published names made here, and the shipped phantom estimator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("dlib")

from torch import nn
from torchvision.models import resnet50

from generation.phantom.population import draw_donor, draw_patient
from generation.phantom.render import render
from mema.errors import UserError
from mema.faces.alignment import boxes
from mema.faces.detector import landmarks
from mema.faces.gaze import GAZE_ESTIMATORS, angle_between, angles_of, directions, gaze_estimator, rolled
from mema.faces.phantom_gaze import describe, unmirrored

FILE = "l2cs/L2CSNet_gaze360.pkl"


def test_angles_are_those_of_their_directions():
    angles = np.array([[0, 0], [30, 0], [0, 20], [-50, -40]], float)
    np.testing.assert_allclose(angles_of(directions(angles)), angles, atol=1e-9)
    assert directions(angles)[1, 0] > 0 > directions(angles)[2, 1], "to the photo's right, and up"
    np.testing.assert_allclose(angle_between(angles[0], angles[:3]), [0, 30, 20], atol=1e-9)
    assert angle_between(np.zeros(2), np.array([180.0, 0])) == pytest.approx(180)
    assert angle_between(angles, angles).tolist() == [0] * 4


def test_a_head_tilted_clockwise_turns_a_look_to_the_right_downwards():
    np.testing.assert_allclose(rolled(np.array([[30.0, 0]]), np.array([90.0])), [[0, -30]], atol=1e-9)
    angles = np.array([[12.0, -7]])
    np.testing.assert_allclose(rolled(rolled(angles, np.array([8.0])), np.array([-8.0])), angles, atol=1e-9)


def published_weights(yaw: int | None = None, pitch: int | None = None) -> dict[str, torch.Tensor]:
    """The names and shapes of ``L2CSNet_gaze360.pkl``, random; with bins, heads that always vote for them."""
    torch.manual_seed(0)
    weights = {name: value for name, value in resnet50().state_dict().items() if not name.startswith("fc.")}
    for name, chosen in (("fc_yaw_gaze", yaw), ("fc_pitch_gaze", pitch)):
        head = nn.Linear(2048, 90)
        if chosen is not None:
            nn.init.zeros_(head.weight)
            head.bias = nn.Parameter(torch.where(torch.arange(90) == chosen, 100.0, 0.0))
        weights |= {f"{name}.{key}": value.detach() for key, value in head.state_dict().items()}
    finetune = nn.Linear(2051, 3)
    return weights | {f"fc_finetune.{key}": value for key, value in finetune.state_dict().items()}


@pytest.fixture
def weights(tmp_path):
    (tmp_path / "l2cs").mkdir()
    return tmp_path


def test_l2cs_votes_for_bins_of_four_degrees(weights, placed, astronaut):
    # Bin 50 is 20 degrees, to the left as its authors count; bin 42 is 12 degrees downwards.
    torch.save(published_weights(yaw=50, pitch=42), weights / FILE)
    instrument = gaze_estimator("l2cs")
    assert (instrument.name, instrument.lines) == ("l2cs", 1)
    assert instrument.revision != "" and instrument.estimate(astronaut[None][:0]).shape == (0, 1, 2)
    blank = np.full_like(astronaut, 90)
    said = instrument.estimate(np.stack([blank, astronaut]))
    assert said.dtype == np.float32 and np.isnan(said[0]).all()
    np.testing.assert_allclose(said[1], [[-20, -12]], atol=1e-3)


def test_l2cs_is_its_authors_network(weights, placed, astronaut):
    from torchvision import transforms

    published = published_weights()
    torch.save(published, weights / FILE)
    said = gaze_estimator("l2cs").estimate(astronaut[None])[0, 0]

    trunk = resnet50()
    trunk.fc = nn.Identity()
    trunk.load_state_dict({name: value for name, value in published.items() if not name.startswith("fc_")})
    left, top, right, bottom = boxes(landmarks(astronaut[None]))[0].astype(int)
    steps = [
        transforms.ToPILImage(),
        transforms.Resize((224, 224)),
        transforms.Resize((448, 448)),
        transforms.ToTensor(),
        transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    ]
    face = transforms.Compose(steps)(astronaut[top:bottom, left:right])
    with torch.inference_mode():
        features = trunk.eval()(face[None])
    expected = []
    for name in ("fc_yaw_gaze", "fc_pitch_gaze"):
        votes = (features @ published[f"{name}.weight"].T + published[f"{name}.bias"]).softmax(dim=1).numpy()[0]
        expected.append(sum(vote * number for number, vote in enumerate(votes)) * 4 - 180)
    np.testing.assert_allclose(said, [-expected[0], expected[1]], atol=0.01)


def test_what_is_missing_or_unfit_is_said_in_a_line(weights, placed):
    with pytest.raises(UserError, match=rf"^weights 'l2cs/gaze360' are missing: looked for .*{FILE}; .*licence: MIT"):
        gaze_estimator("l2cs")
    torch.save({"conv1.weight": torch.zeros(3)}, weights / FILE)
    with pytest.raises(UserError, match="not the weights of L2CS-Net"):
        gaze_estimator("l2cs")
    (weights / "phantom-gaze.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match="not the weights of the phantom gaze estimator"):
        gaze_estimator("phantom")
    with pytest.raises(UserError, match="unknown gaze estimator 'l2c'; did you mean 'l2cs'"):
        gaze_estimator("l2c")
    assert {"l2cs", "phantom"} <= set(GAZE_ESTIMATORS.names())


def looking(index: int, yaw: float, pitch: float = 0.0) -> np.ndarray:
    """A healthy person who holds the head straight and looks to the side."""
    case = draw_donor(index, 0, population="tests")
    shot = replace(case.shots[0], yaw=0.0, pitch=0.0, gaze_yaw=yaw, gaze_pitch=pitch)
    return render(case.subject, shot).image


def test_phantoms_eyes_are_followed(blank):
    looks = [(-20.0, 0.0), (0.0, 0.0), (20.0, 0.0), (0.0, -12.0), (0.0, 12.0)]
    images = np.stack([looking(index, *look) for index in range(4) for look in looks])
    instrument = gaze_estimator("phantom")
    assert (instrument.name, instrument.lines) == ("phantom", 2)
    said = instrument.estimate(images)
    assert said.shape == (20, 2, 2) and said.dtype == np.float32
    errors = angle_between(said, np.tile(looks, (4, 1))[:, None])
    assert np.nanmean(errors) < 7
    yaw, pitch = np.moveaxis(np.nanmean(said.reshape(4, 5, 2, 2), axis=(0, 2)), -1, 0)
    assert yaw[0] < -12 < yaw[1] < 12 < yaw[2]
    assert pitch[3] < -5 < pitch[0] and pitch[1] < 5 < pitch[4]
    np.testing.assert_array_equal(instrument.estimate(images[7:8])[0], said[7])
    assert np.isnan(instrument.estimate(blank)).all()
    assert instrument.estimate(images[:0]).shape == (0, 2, 2)


def test_a_squint_is_read_in_the_eye_that_has_it():
    apart = []
    for index in range(6):
        case = draw_patient("tests", "eye_clinic", index, 5, disease="strabismus", severity=0.9, photos=(1, 1))
        photo = render(case.subject, replace(case.shots[0], yaw=0.0, pitch=0.0, roll=0.0), case.finding)
        said = gaze_estimator("phantom").estimate(photo.image[None])[0]
        squint = photo.gaze[0] - photo.gaze[1]
        apart.append((said[0] - said[1]) @ squint / (squint @ squint))
    assert 0.5 < np.nanmean(apart) < 1.3


def test_a_mirror_swaps_the_eyes():
    image = looking(0, 15.0)
    points = landmarks(image[None])[0]
    eyes = describe(image, points)
    order = np.r_[16:-1:-1, 26:16:-1, 27:31, 35:30:-1, 45:41:-1, 47, 46, 39:35:-1, 41, 40, 48:68]
    mirrored = describe(image[:, ::-1], (points * (-1, 1) + (image.shape[1] - 1, 0))[order])
    np.testing.assert_allclose(mirrored.features, eyes.features[::-1], atol=0.1)
    assert np.abs(mirrored.features - eyes.features[::-1]).mean() < 0.01
    assert mirrored.roll == pytest.approx(-eyes.roll, abs=1e-4)
    np.testing.assert_array_equal(unmirrored(unmirrored(np.ones((2, 2)))), np.ones((2, 2)))
