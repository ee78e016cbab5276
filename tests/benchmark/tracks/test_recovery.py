"""Recovery where the answer is known: the photos themselves, those of other people, nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmark.config import BenchmarkConfig
from benchmark.judge import CLASSIFIER, VECTORS
from benchmark.tracks.protocol import Sample
from benchmark.tracks.quality import PSNR_MOST
from benchmark.tracks.recovery import Recovery
from mema.build import Build
from mema.classifier import load, save
from mema.faces.recognisers import recogniser
from mema.imageset import Face, ImageSet, write_imageset
from mema.release import Release
from mema.weights import locate

CONFIG = BenchmarkConfig(recognisers=("phantom-sphereface", "phantom-arcface"), judge={"judges": 2})


@pytest.fixture(scope="module")
def originals(build: Build) -> ImageSet:
    return Release.open(build.release).imageset("validation")


@pytest.fixture(scope="module")
def folder(originals: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The track's folder in that of a judge with the shipped classifier, and one that always gives one answer."""
    judge = tmp_path_factory.mktemp("judge")
    model = load(locate("phantom-judge/eye_clinic"))
    save(model, judge / CLASSIFIER.format(0))
    model.head.weight.data.zero_()
    save(model, judge / CLASSIFIER.format(1))
    vectors = {f"vectors.{name}": recogniser(name).embed(originals.images()).vectors for name in CONFIG.recognisers}
    save_file(vectors, judge / VECTORS)
    return judge / "tracks" / "recovery"


@pytest.fixture(scope="module")
def noise(build: Build, folder: Path) -> dict[str, float]:
    return Recovery(CONFIG).prepare(Release.open(build.release), folder)


def recovered(path: Path, originals: ImageSet, images: np.ndarray) -> ImageSet:
    records = originals.records()
    return write_imageset(
        path, len(records), lambda a, b: [Face(records[i], images[i]) for i in range(a, b)], config={}
    )


def test_the_photo_itself_is_all_there(originals: ImageSet, folder: Path, noise: dict[str, float]) -> None:
    sample = Sample(originals, originals, np.zeros(originals.count, bool), originals)
    scores = Recovery(CONFIG).measure(sample, folder).scores
    assert (scores["recovered_psnr"] == PSNR_MOST).all()
    assert (scores["recovered_match"] == 1).all()
    assert scores["recovered_identity_distance"] == pytest.approx(0, abs=1e-3)
    assert scores["recovered_perceptual.phantom-judge"] == pytest.approx(0, abs=1e-6)
    read, guessed = scores["recovered_top1.judge-1"], scores["recovered_top1.judge-2"]
    assert read.mean() > 0.5 and guessed.mean() == pytest.approx(1 / 8)
    np.testing.assert_array_equal(scores["recovered_top1"], (read + guessed) / 2)
    assert noise["recovered_psnr"] == noise["recovered_match"] == 0
    # These judges differ by more than their seed.
    assert noise["recovered_top1"] == pytest.approx(np.std([read.mean(), guessed.mean()], ddof=1))


def test_another_person_is_no_match_and_what_is_lost_is_worst(
    originals: ImageSet, folder: Path, noise: dict[str, float], tmp_path: Path
) -> None:
    images = np.roll(originals.images(), 1, axis=0)
    images[0] = 0
    failed = np.arange(originals.count) == 1
    sample = Sample(originals, originals, failed, recovered(tmp_path / "others", originals, images))
    scores = Recovery(CONFIG).measure(sample, folder).scores
    assert (scores["recovered_match"] == 0).all()
    assert (scores["recovered_identity_distance"][2:] > 0.5).all()
    assert (scores["recovered_psnr"][2:] < 25).all() and (scores["recovered_psnr"][2:] > 5).all()
    for row in (0, 1):
        assert scores["recovered_psnr"][row] == scores["recovered_ms_ssim"][row] == scores["recovered_top1"][row] == 0
        assert scores["recovered_identity_distance"][row] == 2
        assert scores["recovered_perceptual.phantom-judge"][row] == 1


def test_an_irreversible_method_has_no_such_scores(originals: ImageSet, folder: Path) -> None:
    measured = Recovery(CONFIG).measure(Sample(originals, originals, np.zeros(originals.count, bool)), folder)
    assert measured.scores == {} and not measured.stated
