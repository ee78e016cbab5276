"""The segmentation track with a real nnU-Net: on squares, which take seconds, and on phantoms."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image, ImageFilter

from benchmark.config import BenchmarkConfig
from benchmark.tracks.protocol import Sample
from benchmark.tracks.segmentation import REPORT, TRAINING, Segmentation, overlap
from mema.errors import UserError
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord
from mema.release import SPLITS, Release

SHORT = {"epochs": 2, "iterations": 3, "repeats": 2}


def settings(**segmentation: object) -> BenchmarkConfig:
    return BenchmarkConfig.model_validate({"tracks": ["segmentation"], "segmentation": segmentation})


def face(name: str, image: np.ndarray, mask: np.ndarray | None, disease: str = "bcc") -> Face:
    return Face(FaceRecord(image_id=name, subject_id=name, disease=disease), image, mask)


def squares(prefix: str, count: int) -> list[Face]:
    """Bright squares on noise, 32 px."""
    rng = np.random.default_rng([count, len(prefix)])
    faces = []
    for number in range(count):
        image, mask = rng.integers(60, 120, (32, 32, 3), dtype=np.uint8), np.zeros((32, 32), bool)
        top, left = rng.integers(4, 20, 2)
        mask[top : top + 8, left : left + 8] = True
        image[mask] = (230, 40, 40)
        faces.append(face(f"{prefix}{number}", image, mask))
    return faces


def image_set(path: Path, faces: Sequence[Face]) -> ImageSet:
    return write_imageset(path, len(faces), lambda start, stop: faces[start:stop], config={"path": path.name})


def sealed(folder: Path, train: Sequence[Face], validation: Sequence[Face]) -> Release:
    rest = [face("s0", np.zeros_like(train[0].image), None, "normal")]
    for split, faces in zip(SPLITS, (train, rest, validation), strict=True):
        image_set(folder / split, faces)
    about = {"name": "test", "version": "0.1.0", "clinic": "eye_clinic", "phantom": True}
    return Release.seal(folder, machine_annotated=True, annotators=("renderer",), **about)


class Prepared(NamedTuple):
    track: Segmentation
    release: Release
    folder: Path
    noise: dict[str, float]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Two short trainings on squares; of four validation images one is of another disease and one has no lesion."""
    folder = tmp_path_factory.mktemp("segmentation")
    seen = squares("validation", 3)
    seen[2] = face("validation2", seen[2].image, seen[2].mask, "scc")
    healthy = face("healthy", seen[0].image[::-1], None, "normal")
    release = sealed(folder / "release", squares("train", 6), [*seen, healthy])
    track = Segmentation(settings(**SHORT))
    return Prepared(track, release, folder / "track", track.prepare(release, folder / "track"))


def test_overlap_of_known_masks() -> None:
    truth, half = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    truth[:2], half[1:3] = True, True
    assert overlap(truth, truth) == (1, 1)
    assert overlap(half, truth) == (0.5, pytest.approx(1 / 3))
    assert overlap(~truth, truth) == overlap(np.zeros_like(truth), truth) == (0, 0)


def test_a_release_without_masks_is_not_measured_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = [face(f"b{number}", np.full((32, 32, 3), 99, np.uint8), None) for number in range(2)]
    release = sealed(tmp_path / "release", bare, squares("v", 1))
    track = Segmentation(settings(diseases=["bcc", "scc"]))
    assert track.prepare(release, tmp_path / "track") == {}
    said = capsys.readouterr()
    assert said.err == "segmentation: not measured, the training split has no mask of bcc or scc\n" and not said.out
    originals = release.imageset("validation")
    assert track.measure(Sample(originals, originals, np.array([False])), tmp_path / "track").scores == {}


def test_an_unknown_disease_is_named(tmp_path: Path) -> None:
    release = sealed(tmp_path / "release", squares("t", 1), squares("v", 1))
    with pytest.raises(UserError, match="no disease 'bbc'; did you mean 'bcc'"):
        Segmentation(settings(diseases=["bbc"])).prepare(release, tmp_path / "track")


def test_what_is_left_of_a_training(prepared: Prepared) -> None:
    left = {file.relative_to(prepared.folder).as_posix() for file in prepared.folder.rglob("*")}
    assert left == {"model-0.safetensors", "model-1.safetensors", "plans.json", TRAINING, REPORT}
    first, second = ((prepared.folder / f"model-{number}.safetensors").read_bytes() for number in (0, 1))
    assert first != second
    assert not [name for name in os.environ if name.startswith("nnUNet")]
    assert str(prepared.folder) not in (prepared.folder / "plans.json").read_text()


def test_preparing_again_trains_nothing(prepared: Prepared) -> None:
    before = (prepared.folder / "model-0.safetensors").stat().st_mtime_ns
    (prepared.folder / REPORT).unlink()
    assert prepared.track.prepare(prepared.release, prepared.folder) == prepared.noise
    assert set(prepared.noise) == {"dice", "jaccard"} and min(prepared.noise.values()) >= 0
    assert (prepared.folder / "model-0.safetensors").stat().st_mtime_ns == before


def test_scores_of_what_was_delivered(prepared: Prepared) -> None:
    originals = prepared.release.imageset("validation")
    failed = np.array([False, True, False, False])
    scores = prepared.track.measure(Sample(originals, originals, failed, originals), prepared.folder).scores
    assert set(scores) == {f"{name}{part}" for name in ("dice", "jaccard") for part in ("", ".original", ".recovered")}
    for name in ("dice", "jaccard"):
        # The third lesion is of a disease that is not asked for, the fourth image has none.
        assert np.isnan(scores[name][2:]).all() and np.isnan(scores[f"{name}.original"][2:]).all()
        assert scores[name][1] == scores[f"{name}.recovered"][1] == 0
        assert scores[name][0] == scores[f"{name}.recovered"][0] == scores[f"{name}.original"][0]
        assert 0 <= scores[f"{name}.original"][1] <= 1
    again = prepared.track.measure(Sample(originals, originals, failed), prepared.folder).scores
    assert set(again) == {name for name in scores if not name.endswith("recovered")}
    np.testing.assert_array_equal(again["dice"], scores["dice"])


def test_a_killed_training_ends_as_if_nothing_had_happened(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmark.tracks import nnunet_training

    class Killed(nnunet_training.tqdm):
        def update(self, steps: float | None = 1) -> bool | None:
            if self.n == 4:
                raise KeyboardInterrupt
            return super().update(steps)

    def train() -> None:
        nnunet_training.train(squares("train", 6), tmp_path, seeds=[0], epochs=2, iterations=3)

    with monkeypatch.context() as patch:
        patch.setattr(nnunet_training, "tqdm", Killed)
        patch.setattr(nnunet_training, "CHECKPOINT_SECONDS", 0)
        with pytest.raises(KeyboardInterrupt):
            train()
    assert [file.name for file in tmp_path.rglob("checkpoint*")] == ["checkpoint_latest.pth"]
    train()
    name = "model-0.safetensors"
    assert (tmp_path / name).read_bytes() == (prepared.folder / name).read_bytes()


@pytest.mark.slow
def test_a_blacked_out_tumour_is_not_outlined_and_an_untouched_one_best(tmp_path: Path) -> None:
    from generation.phantom.population import draw_patient
    from generation.phantom.render import render

    lesions = []
    for index in range(30):
        case = draw_patient("tests", "eye_clinic", index, 5, disease="bcc", severity=0.8, photos=(1, 1))
        photo = render(case.subject, case.shots[0], case.finding, 64)
        lesions.append(face(f"p{index}", photo.image, photo.lesion))
    release = sealed(tmp_path / "release", lesions[:22], lesions[22:])
    track = Segmentation(settings(epochs=4, iterations=20, repeats=1))
    assert track.prepare(release, tmp_path / "track") == {}
    originals = release.imageset("validation")

    def reached(name: str, change: object) -> float:
        changed = [one._replace(image=change(one.image), mask=None) for one in originals.faces()]  # type: ignore[operator]
        sample = Sample(originals, image_set(tmp_path / name, changed), np.zeros(len(changed), bool))
        return float(track.measure(sample, tmp_path / "track").scores["dice"].mean())

    blur = ImageFilter.GaussianBlur(3)
    dice = {
        "untouched": reached("untouched", lambda image: image),
        "blurred": reached("blurred", lambda image: np.asarray(Image.fromarray(image).filter(blur))),
        "black": reached("black", np.zeros_like),
    }
    print(dice)
    assert dice["untouched"] > 0.6 and dice["untouched"] > dice["blurred"] > dice["black"]
    assert dice["black"] < 0.1
