"""A judge of the paper's kind: DINOv2, fine-tuned on the release, read back and asked."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from transformers import Dinov2Config, Dinov2Model

from benchmark.config import BenchmarkConfig, JudgeConfig
from benchmark.judge import open_judge, prepare_judge
from benchmark.run import method_config
from benchmark.tracks.protocol import TRACKS
from mema.build import Build
from mema.classifier import predict
from mema.dinov2_classifier import Dinov2Classifier
from mema.errors import UserError
from mema.faces.recognisers import RECOGNISERS
from mema.release import Release
from mema.weights import digest, root, table

PRODUCTION = Path(__file__).parents[2] / "configs" / "mema-sd15.yaml"


def test_a_dinov2_judge_is_made_opened_and_asked(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = yaml.safe_load(build.config_path.read_text())
    config["paths"]["runs"] = str(tmp_path / "runs")
    judge = {"encoder": "dinov2", "epochs": 1, "judges": 2}
    config["benchmark"] |= {"judge": judge, "recognisers": ["phantom-sphereface"], "tracks": []}
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(config))
    shutil.copytree(build.release, tmp_path / "runs" / "release")
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "phantom-recognisers").symlink_to(root() / "phantom-recognisers")
    monkeypatch.setenv("MEMA_WEIGHTS", str(weights))
    other = Build.load(tmp_path / "build.yaml")
    with pytest.raises(UserError, match=r"'dinov2-base' are missing.*Apache-2\.0"):
        prepare_judge(other)

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    Dinov2Model(Dinov2Config(**sizes)).save_pretrained(weights / "dinov2-base")
    folder = prepare_judge(other)
    section, release = other.section("benchmark", BenchmarkConfig), Release.open(other.release)
    opened = open_judge(folder, release, section)
    assert digest(weights / "dinov2-base") in (folder / "judge.json").read_text()
    assert [type(model) for model in opened.classifiers] == [Dinov2Classifier] * 2
    images = release.imageset("validation").images()[:3]
    first, second = (predict(model, images) for model in opened.classifiers)
    assert first.shape == (3, 8) and not np.array_equal(first, second)


def test_each_encoder_has_its_own_first_weights() -> None:
    assert (JudgeConfig().encoder, JudgeConfig().init) == ("small", "phantom-judge")
    assert JudgeConfig(encoder="dinov2").init == "dinov2-base"
    assert JudgeConfig(encoder="dinov2", init="dinov2-large").init == "dinov2-large"
    assert JudgeConfig().initial_weights("eye_clinic") == "phantom-judge/eye_clinic"
    assert JudgeConfig(encoder="dinov2").initial_weights("eye_clinic") == "dinov2-base"
    with pytest.raises(ValidationError, match="'small' or 'dinov2'"):
        JudgeConfig(encoder="dinov3")  # type: ignore[arg-type]
    encoders = [BenchmarkConfig(judge=JudgeConfig(encoder=name, init=None)) for name in ("small", "dinov2")]
    assert encoders[0].protocol_reference() != encoders[1].protocol_reference()


def test_the_papers_settings_name_what_there_is() -> None:
    config = Build.load(PRODUCTION).section("benchmark", BenchmarkConfig)
    assert config.judge.encoder == "dinov2" and config.judge.init in table()
    assert config.recognisers == ("facenet-vggface2", "facenet-casia-webface", "sphereface")
    assert set(config.recognisers) <= set(RECOGNISERS.names())
    assert (config.far, config.strict_far) == (1e-3, 1e-4)
    assert {"verification", "open-set"} <= set(config.tracks) <= set(TRACKS.names())
    for method in config.methods:
        assert method_config(PRODUCTION.parent / "methods", method)[1] == method
