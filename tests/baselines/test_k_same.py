"""k-same on the shipped gallery: whose pixels are shown, how many donors share them, and what a gallery is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from baselines.k_same.gallery import Gallery, load_gallery, make_gallery, save_gallery
from baselines.k_same.method import KSame, KSameEigen, KSameEigenParameters, KSameParameters, principal_components
from mema.errors import UserError
from mema.weights import locate


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    return load_gallery(locate("phantom-gallery"))


def test_the_shipped_gallery_holds_different_faces_in_one_pose(gallery: Gallery) -> None:
    from mema.faces.detector import landmarks

    assert gallery.faces.shape == (160, 96, 96, 3)
    assert 0.4 < gallery.mask.mean() < 0.7
    assert len(np.unique(gallery.faces.reshape(160, -1), axis=0)) == 160
    points = landmarks(gallery.faces[:4])
    found = np.isfinite(points).all(axis=(1, 2))
    assert found.any()
    assert np.abs(points[found] - gallery.pose).mean() < 3


def test_no_pixel_of_the_patient_is_shown(patients: np.ndarray, gallery: Gallery) -> None:
    """With k as large as the gallery, whoever the patient is, the face is the same picture."""
    from baselines.face_region import Similarity, feathered
    from mema.faces.detector import placed_landmarks

    output = KSame(KSameParameters(k=len(gallery.faces))).deidentify(patients, keys=None, seed=0)
    poses = [Similarity.between(points, gallery.pose) for points in placed_landmarks(patients)[0]]
    core = feathered(gallery.mask, 12) == 1
    shown = [pose.warp(image, 96, 96)[core].astype(float) for pose, image in zip(poses, output, strict=True)]
    # To and fro the same picture is resampled twice.
    assert np.abs(shown[0] - shown[1]).mean() < 4
    assert np.abs(shown[0] - poses[0].warp(patients[0], 96, 96)[core]).mean() > 8
    face = np.repeat(gallery.mask[..., None].astype(np.uint8) * 255, 3, axis=2)
    outside = poses[0].inverse().warp(face, 128, 128).max(axis=2) == 0
    assert 0.4 < outside.mean() < 0.9
    assert np.array_equal(output[0][outside], patients[0][outside])


def test_it_is_the_mean_of_the_k_nearest(gallery: Gallery) -> None:
    method = KSame(KSameParameters(k=3))
    faces = method._known
    order = np.argsort(np.linalg.norm(faces - faces[7], axis=1), kind="stable")
    assert order[0] == 7
    assert method._average(faces[7]) == pytest.approx(faces[order[:3]].mean(axis=0), abs=1e-2)


def test_in_the_space_of_all_eigenfaces_the_two_agree() -> None:
    pixels, eigen = KSame(KSameParameters(k=5)), KSameEigen(KSameEigenParameters(k=5, components=1000))
    probe = pixels._known[11] * 0.5 + pixels._known[12] * 0.5
    assert eigen._average(probe) == pytest.approx(pixels._average(probe), abs=0.5)
    few = KSameEigen(KSameEigenParameters(k=5, components=4))._average(probe)
    assert np.abs(few - pixels._average(probe)).mean() > 1


def test_eigenfaces_are_the_principal_components() -> None:
    from sklearn.decomposition import PCA

    data = np.random.default_rng(0).normal(size=(30, 50)).astype(np.float32) * np.linspace(1, 9, 50)
    centred = (data - data.mean(axis=0)).astype(np.float32)
    expected = PCA(5).fit(data).components_
    assert np.abs(np.sum(principal_components(centred, 5) * expected, axis=1)) == pytest.approx(np.ones(5), abs=1e-4)


def test_a_gallery_is_made_saved_and_read(patients: np.ndarray, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), dtype=np.uint8)
    made = make_gallery(np.concatenate([noise, patients]), faces=2, side=64)
    assert made.faces.shape == (2, 64, 64, 3)
    save_gallery(made, tmp_path / "gallery.safetensors", "tests")
    read = load_gallery(tmp_path / "gallery.safetensors")
    assert np.array_equal(read.pose, made.pose)
    assert np.abs(read.faces.astype(float) - made.faces).mean() < 6
    with pytest.raises(UserError, match="at least two faces"):
        make_gallery(noise, faces=2, side=64)


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    with pytest.raises(UserError, match="'k_same': k is 161, the gallery has 160"):
        KSame(KSameParameters(k=161))
    with pytest.raises(UserError, match="unknown weights 'phantom-galery'; did you mean 'phantom-gallery'"):
        KSame(KSameParameters(gallery="phantom-galery"))
    for name, tensors in {
        "other": {"weight": np.zeros(3)},
        "broken": {"faces": np.zeros(9, np.uint8), "ends": np.array([9]), "pose": np.zeros((68, 2), np.float32)},
    }.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
        with pytest.raises(UserError, match=f"{name}.safetensors: not a gallery"):
            load_gallery(tmp_path / f"{name}.safetensors")
