"""Do real, independently trained networks read phantoms as faces? Detection, identity, landmarks and speed.

The instruments are dlib's (the package ``face_recognition_models`` carries their weights). Every function renders
healthy phantoms, measures them and returns plain numbers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from generation.phantom.anatomy import Subject, draw_subject
from generation.phantom.canvas import Array, Finding
from generation.phantom.render import Photo, render_batch
from generation.phantom.shot import Shot, draw_shot

MAX_YAW = 25.0


def _shots(count: int, seed: int) -> list[Shot]:
    """Random shots whose yaw is uniform in ±25°."""
    yaw = np.random.default_rng([seed, 1]).uniform(-MAX_YAW, MAX_YAW, count)
    return [replace(draw_shot(seed * 1_000_003 + i), yaw=float(yaw[i])) for i in range(count)]


def _photos(subjects: list[Subject], shots: list[Shot], workers: int, size: int) -> Iterator[Photo]:
    jobs = [(subject, shot, Finding()) for subject, shot in zip(subjects, shots, strict=True)]
    return render_batch(jobs, size=size, workers=workers)


def measure_detection(n: int = 500, seed: int = 0, *, workers: int = 1, size: int = 128) -> dict[str, float]:
    """Share of ``n`` photos (one per subject) in which dlib's HOG detector (upsampled once) finds a face.

    Returns ``photos``, ``detected`` (share), ``single`` (share with exactly one face).
    """
    import dlib

    detector = dlib.get_frontal_face_detector()
    subjects = [draw_subject(seed * 1_000_003 + i) for i in range(n)]
    found = np.array([len(detector(photo.image, 1)) for photo in _photos(subjects, _shots(n, seed), workers, size)])
    return {"photos": float(n), "detected": float((found > 0).mean()), "single": float((found == 1).mean())}


def measure_identity(
    identities: int = 100, photos: int = 5, seed: int = 0, *, workers: int = 1, size: int = 128
) -> dict[str, float]:
    """How well dlib's 128-d recogniser separates ``identities`` subjects over ``photos`` photos each.

    Returns ``auc`` (same against different pairs), mean ``same`` and ``different`` distances, ``faces`` read, and
    ``far_1e-3_tar``: the share of same pairs below the distance that 0.1 % of different pairs undercut.
    """
    import dlib
    import face_recognition_models as models

    detector = dlib.get_frontal_face_detector()
    shape = dlib.shape_predictor(models.pose_predictor_model_location())
    recogniser = dlib.face_recognition_model_v1(models.face_recognition_model_location())
    subjects = [draw_subject(seed * 1_000_003 + i) for i in range(identities) for _ in range(photos)]
    vectors, who = [], []
    shots = _shots(identities * photos, seed + 1)
    for k, photo in enumerate(_photos(subjects, shots, workers, size)):
        faces, _, _ = detector.run(photo.image, 1, -0.5)
        if len(faces):
            points = shape(photo.image, faces[0])
            vectors.append(np.array(recogniser.compute_face_descriptor(photo.image, points)))
            who.append(k // photos)
    stack, owner = np.array(vectors), np.array(who)
    first, second = np.triu_indices(len(stack), 1)
    distance = np.linalg.norm(stack[first] - stack[second], axis=-1)
    same = owner[first] == owner[second]
    return {
        "faces": float(len(stack)),
        "auc": _auc(-distance[same], -distance[~same]),
        "same": float(distance[same].mean()),
        "different": float(distance[~same].mean()),
        "far_1e-3_tar": float((distance[same] < np.quantile(distance[~same], 1e-3)).mean()),
    }


def _auc(positive: Array, negative: Array) -> float:
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    return float((ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative)))


def landmark_errors(n: int = 500, seed: int = 0, *, workers: int = 1, size: int = 128) -> Array:
    """dlib's 68 landmarks minus the truth over ``n`` photos (faces, 68, 2), in distances of the outer eye corners."""
    import dlib
    import face_recognition_models as models

    detector = dlib.get_frontal_face_detector()
    shape = dlib.shape_predictor(models.pose_predictor_model_location())
    subjects = [draw_subject(seed * 1_000_003 + i) for i in range(n)]
    errors = []
    for photo in _photos(subjects, _shots(n, seed), workers, size):
        faces, _, _ = detector.run(photo.image, 1, -0.5)
        if len(faces):
            read = np.array([(p.x, p.y) for p in shape(photo.image, faces[0]).parts()], dtype=np.float32)
            errors.append((read - photo.landmarks) / np.linalg.norm(photo.landmarks[36] - photo.landmarks[45]))
    return np.array(errors)


def measure_landmarks(n: int = 500, seed: int = 0, *, workers: int = 1, size: int = 128) -> dict[str, float]:
    """Mean distance of dlib's 68 landmarks from the truth, in interocular distances (outer eye corners).

    Returns ``faces`` read, ``nme`` over all points and over ``jaw``, ``brows``, ``nose``, ``eyes`` and ``mouth``.
    """
    errors = np.linalg.norm(landmark_errors(n, seed, workers=workers, size=size), axis=-1)
    parts = {"jaw": (0, 17), "brows": (17, 27), "nose": (27, 36), "eyes": (36, 48), "mouth": (48, 68)}
    scores = {name: float(errors[:, low:high].mean()) for name, (low, high) in parts.items()}
    return {"faces": float(len(errors)), "nme": float(errors.mean()), **scores}


def measure_speed(n: int = 40, *, size: int = 128) -> dict[str, float]:
    """Photos per second of processor time on one core, each of another subject."""
    subjects = [draw_subject(i) for i in range(n)]
    shots = _shots(n, 0)
    next(_photos(subjects[:1], shots[:1], 1, size))
    start = time.process_time()
    for _ in _photos(subjects, shots, 1, size):
        pass
    return {"photos_per_second": n / (time.process_time() - start)}
