import numpy as np
import pytest


@pytest.fixture(scope="session")
def phantoms():
    """Photos uint8 (24, 128, 128, 3) of 8 people, and their truth: people (24,), landmarks (24, 68, 2)."""
    from generation.phantom.population import draw_donor
    from generation.phantom.render import render_batch

    cases = [draw_donor(index, 0, population="tests", photos=3) for index in range(8)]
    photos = list(render_batch([(case.subject, shot, case.finding) for case in cases for shot in case.shots]))
    images = np.stack([photo.image for photo in photos])
    return images, np.repeat(np.arange(8), 3), np.stack([photo.landmarks for photo in photos])


@pytest.fixture(scope="session")
def blank():
    """Photos without a face, uint8 (2, 128, 128, 3): grey, and noise."""
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3))
    return np.stack([np.full((128, 128, 3), 120), noise]).astype(np.uint8)


@pytest.fixture
def placed(weights, monkeypatch):
    """The folder ``weights`` of the test's module, where the project then looks for its weights."""
    monkeypatch.setenv("MEMA_WEIGHTS", str(weights))
    return weights


@pytest.fixture(scope="session")
def astronaut():
    """E. Collins's portrait (NASA, public domain), uint8 (256, 256, 3); the face about (128, 110)."""
    from skimage import data

    return data.astronaut()[:256, 96:352]
