"""Encoders through the real libraries, on weights made here and on those that are shipped."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from mema.encoders import encoder
from mema.errors import UserError

PHOTOS = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), np.uint8)


def inception_weights(folder: Path) -> Path:
    """Write weights of torch-fidelity's Inception v3 as it makes them where it is given none."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Untrained(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_: object, **__: object) -> None:
            """Keep the weights that it was made with."""

    torch.manual_seed(0)
    nothing = folder / "nothing.pth"
    torch.save({}, nothing)
    path = folder / "torch-fidelity" / "weights-inception-2015-12-05-6726825d.pth"
    path.parent.mkdir()
    torch.save(Untrained("untrained", ["2048"], feature_extractor_weights_path=str(nothing)).state_dict(), path)
    return path


def test_inception_is_torch_fidelitys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    monkeypatch.setenv("MEMA_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match="weights 'fid/inception' are missing"):
        encoder("inception")
    path = inception_weights(tmp_path)
    features = encoder("inception")(PHOTOS)
    assert features.shape == (2, 2048) and features.dtype == np.float32
    network = FeatureExtractorInceptionV3("reference", ["2048"], feature_extractor_weights_path=str(path))
    (wanted,) = network(torch.from_numpy(PHOTOS).permute(0, 3, 1, 2))
    # Untrained features are tiny: only relative differences say anything.
    np.testing.assert_allclose(features, wanted.numpy(), rtol=1e-4)
    assert not np.allclose(features[0], features[1], rtol=1e-2, atol=0)


class Intruder:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> object:
        return Path.touch, (self.trace,)


def test_weights_run_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMA_WEIGHTS", str(tmp_path))
    path, trace = tmp_path / "torch-fidelity" / "weights-inception-2015-12-05-6726825d.pth", tmp_path / "trace"
    path.parent.mkdir()
    torch.save(Intruder(trace), path)
    with pytest.raises(UserError, match="not torch-fidelity's weights"):
        encoder("inception")
    assert not trace.exists()
    pickle.loads(pickle.dumps(Intruder(trace)))
    assert trace.exists(), "opened carelessly it would have"


def test_a_classifier_and_a_folder_of_transformers_are_encoders_too(tmp_path: Path) -> None:
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    assert encoder("phantom-judge/eye_clinic")(PHOTOS).shape == (2, 240)
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    Dinov2Model(config).save_pretrained(tmp_path)
    BitImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(tmp_path)
    features = encoder(str(tmp_path))(PHOTOS)
    assert features.shape == (2, 16) and features.dtype == np.float32
    assert not np.allclose(features[0], features[1])


def test_what_is_no_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a vision model of transformers"):
        encoder(str(tmp_path))
    with pytest.raises(UserError, match="unknown weights 'inceptoin'"):
        encoder("inceptoin")
