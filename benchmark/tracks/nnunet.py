"""What a trained nnU-Net is on disk, and outlines of lesions by it; ``benchmark.tracks.nnunet_training`` trains it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from safetensors.torch import load_file

from mema.files import read_json

PLANS = "plans.json"
MODEL = "model-{}.safetensors"
CONFIGURATION = "2d"
# nnU-Net takes a photo for one slice of a volume, as its own reader of PNG files does.
SPACING = (999, 1, 1)


class Outliner:
    """The network number ``number`` in ``folder``, as nnU-Net predicts with it: sliding window, mirrored views."""

    def __init__(self, folder: Path, number: int) -> None:
        report = read_json(folder / PLANS)
        plans, dataset = PlansManager(report["plans"]), report["dataset"]
        configuration = plans.get_configuration(CONFIGURATION)
        heads = plans.get_label_manager(dataset).num_segmentation_heads
        with torch.random.fork_rng(devices=[]):
            network = get_network_from_plans(
                configuration.network_arch_class_name,
                configuration.network_arch_init_kwargs,
                configuration.network_arch_init_kwargs_req_import,
                len(dataset["channel_names"]),
                heads,
                allow_init=False,
                deep_supervision=False,
            )
        # The decoder names the encoder's weights again: they are missing, and there already.
        network.load_state_dict(load_file(folder / MODEL.format(number)), strict=False)
        with contextlib.redirect_stdout(None), _cudnn():
            self._predictor = nnUNetPredictor(device=best_device(), allow_tqdm=False)
        self._predictor.manual_initialization(
            network, plans, configuration, [network.state_dict()], dataset, "nnUNetTrainer", report["mirroring"]
        )

    def outline(self, image: np.ndarray) -> np.ndarray:
        """Return where a lesion is seen, bool (H, W), in an image, uint8 RGB (H, W, 3)."""
        channels = image.transpose(2, 0, 1)[:, None].astype(np.float32)
        with contextlib.redirect_stdout(None), _cudnn():
            labels = self._predictor.predict_single_npy_array(channels, {"spacing": SPACING})
        return np.asarray(labels[0] > 0)


def best_device() -> torch.device:
    """Return the first GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _cudnn() -> contextlib.AbstractContextManager[None]:
    """cuDNN's settings under which the same image gives the same outline; those of others are left as they are."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)  # type: ignore[no-any-return]
