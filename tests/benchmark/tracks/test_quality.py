"""Image quality on what is known of phantoms: untouched, blurred, blackened, not delivered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from baselines.registry import MethodConfig, make_method
from benchmark.config import BenchmarkConfig
from benchmark.deidentify import deidentify_set, from_method
from benchmark.tracks.protocol import Measured, Sample
from benchmark.tracks.quality import PSNR_MOST, Quality, ms_ssim, psnr, scales_for, with_worst
from mema.build import Build
from mema.errors import UserError
from mema.imageset import ImageSet
from mema.release import Release

PERCEPTUAL, FRECHET, KERNEL = "perceptual.phantom-judge", "frechet.phantom-judge", "kernel.phantom-judge"


@pytest.fixture(scope="module")
def originals(build: Build) -> ImageSet:
    return Release.open(build.release).imageset("validation")


@pytest.fixture(scope="module")
def track() -> Quality:
    return Quality(BenchmarkConfig())


@pytest.fixture(scope="module")
def prepared(build: Build, track: Quality, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("quality")
    return folder, track.prepare(Release.open(build.release), folder)


@pytest.fixture(scope="module")
def measured(
    originals: ImageSet,
    track: Quality,
    prepared: tuple[Path, dict[str, float]],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Measured]:
    """What is measured of three floors, the first image of each not delivered."""
    failed = np.arange(originals.count) == 0
    found = {}
    for name in ("pass_through", "gaussian_blur", "blackout"):
        path = tmp_path_factory.mktemp("images") / name
        deliver = from_method(make_method(MethodConfig(method=name)), 0)
        images, _ = deidentify_set(deliver, originals, path, batch_size=8, config={"method": name})
        found[name] = track.measure(Sample(originals, images, failed), prepared[0])
    return found


def test_untouched_images_are_as_good_as_can_be(measured: dict[str, Measured]) -> None:
    scores, stated = measured["pass_through"]
    assert (scores["psnr"][1:] == PSNR_MOST).all()
    assert scores["ms_ssim"][1:] == pytest.approx(1)
    assert scores[PERCEPTUAL][1:] == pytest.approx(0, abs=1e-6)
    for name in (FRECHET, KERNEL):
        assert stated[name].value == pytest.approx(0, abs=1e-6)


def test_more_loss_scores_worse(measured: dict[str, Measured]) -> None:
    blurred, black = measured["gaussian_blur"], measured["blackout"]
    for name, sign in (("psnr", 1), ("ms_ssim", 1), (PERCEPTUAL, -1)):
        assert (sign * blurred.scores[name][1:] > sign * black.scores[name][1:]).all(), name
    for name in (FRECHET, KERNEL):
        assert 0 < blurred.stated[name].value < black.stated[name].value
        interval = blurred.stated[name].interval
        assert interval is not None
        assert interval.low < blurred.stated[name].value < interval.high


def test_an_image_that_failed_is_worst_whatever_it_shows(measured: dict[str, Measured]) -> None:
    for found in measured.values():
        assert found.scores["psnr"][0] == found.scores["ms_ssim"][0] == 0
        assert found.scores[PERCEPTUAL][0] == 1
        for name, column in found.scores.items():
            assert len(column) == 16 and np.isfinite(column).all(), name


def test_the_noise_floor_of_what_has_no_seed_is_zero(prepared: tuple[Path, dict[str, float]]) -> None:
    noise = prepared[1]
    assert set(noise) == {"psnr", "ms_ssim", "perceptual", "frechet", "kernel"}
    assert set(noise.values()) == {0.0}


def test_psnr_is_that_of_the_error() -> None:
    images = np.full((3, 16, 16, 3), 100, np.uint8)
    changed = images + np.array([0, 10, 155], np.uint8)[:, None, None, None]
    assert psnr(changed, images) == pytest.approx([60, 20 * np.log10(25.5), 20 * np.log10(255 / 155)])


def test_ms_ssim_takes_as_many_scales_as_fit() -> None:
    assert [len(scales_for(side)) for side in (64, 98, 99, 128, 175, 176, 512)] == [3, 3, 4, 4, 4, 5, 5]
    assert sum(scales_for(128)) == pytest.approx(1)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    # The negative of noise is as unlike it as can be, and has no less than nothing in common with it.
    assert ms_ssim(np.stack([images[0], 255 - images[1]]), images) == pytest.approx([1, 0], abs=1e-6)


def test_what_leaves_its_range_is_kept_to_it() -> None:
    column = with_worst({"lpips.alex": np.array([0.5, 3.0, 0.1])}, np.array([False, False, True]), Quality.definitions)
    assert column["lpips.alex"].tolist() == [0.5, 2.0, 2.0]


def test_missing_weights_are_one_line(build: Build, tmp_path: Path) -> None:
    track = Quality(BenchmarkConfig(quality={"perceptual": ["alex"], "encoders": []}))
    with pytest.raises(UserError, match=r"weights 'lpips/alex' are missing: .*alexnet-owt-7be5be79\.pth; .*licence"):
        track.prepare(Release.open(build.release), tmp_path)
    track = Quality(BenchmarkConfig(quality={"perceptual": [], "encoders": ["inception"]}))
    with pytest.raises(UserError, match="weights 'fid/inception' are missing"):
        track.prepare(Release.open(build.release), tmp_path)
