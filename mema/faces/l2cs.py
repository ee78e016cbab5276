"""L2CS-Net (Abdelrahman et al. 2023, 2203.03339), the gaze estimator of MeMa Table 7: a ResNet-50 with two heads.

No package index carries it; the weights are its authors' for Gaze360 (``L2CSNet_gaze360.pkl``), whose names of layers
are kept here. Each head sorts its angle into 90 bins of 4 degrees; the angle is the mean bin. Faces are found by dlib
and cut as in :func:`mema.faces.alignment.boxes`, where the authors take RetinaFace's boxes.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from mema.engine import batches
from mema.faces.alignment import boxes
from mema.faces.checkpoints import load_without_classifier
from mema.faces.detector import landmarks
from mema.weights import digest, locate

BATCH = 8
BINS, WIDTH, FIRST = 90, 4.0, -180.0
# The authors cut faces to the smaller side before they bring them to the larger.
CUT, INPUT = 224, 448
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
SPREAD = np.array([0.229, 0.224, 0.225], np.float32)


class L2CSNet(ResNet):
    """Float (N, 3, H, W) RGB, normalised as for ImageNet, to the authors' angles in degrees, float (N, 2).

    Their yaw is positive to the photo's left.
    """

    def __init__(self) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3])
        features = 512 * Bottleneck.expansion
        # Without parameters, so that the names of weights are the authors'.
        self.fc = nn.Identity()
        self.fc_yaw_gaze = nn.Linear(features, BINS)
        self.fc_pitch_gaze = nn.Linear(features, BINS)

    def forward(self, faces: Tensor) -> Tensor:
        """Return the angles of ``faces``."""
        features = super().forward(faces)
        votes = torch.stack([self.fc_yaw_gaze(features), self.fc_pitch_gaze(features)], dim=1).softmax(dim=2)
        return votes @ (torch.arange(BINS, dtype=votes.dtype) * WIDTH + FIRST)


class L2CSEstimator:
    """L2CS-Net behind the GazeEstimator protocol: one line of sight of the face."""

    lines = 1

    def __init__(self, name: str = "l2cs") -> None:
        path = locate("l2cs/gaze360")
        self.name = name
        # A layer of an earlier experiment is still in the file.
        self._network = load_without_classifier(L2CSNet(), path, classifier="fc_finetune.", what="L2CS-Net")
        self.revision = digest(path)

    def estimate(self, images: np.ndarray) -> np.ndarray:
        """Read ``images``, uint8 RGB (N, H, W, 3)."""
        angles = np.full((len(images), self.lines, 2), np.nan, np.float32)
        points = landmarks(images)
        seen = np.flatnonzero(~np.isnan(points).any(axis=(1, 2)))
        cuts = boxes(points[seen])
        for rows in batches(range(len(seen)), BATCH):
            with torch.inference_mode():
                read = self._network(torch.stack([_face(images[seen[row]], cuts[row]) for row in rows]))
            angles[seen[list(rows)], 0] = read.numpy() * (-1, 1)
        return angles


def _face(image: np.ndarray, box: np.ndarray) -> Tensor:
    """Return the part of ``image`` in ``box`` as the network takes it."""
    height, width = image.shape[:2]
    left, top = np.clip(box[:2].astype(int), 0, (width - 1, height - 1))
    right, bottom = np.maximum(np.clip(box[2:].astype(int), 0, (width, height)), (left + 1, top + 1))
    cut = Image.fromarray(image[top:bottom, left:right])
    for side in (CUT, INPUT):
        cut = cut.resize((side, side), Image.Resampling.BILINEAR)
    pixels = (np.asarray(cut, np.float32) / 255 - MEAN) / SPREAD
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())
