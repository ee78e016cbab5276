"""Age and gender by InsightFace's pack buffalo_l (SCRFD detector, a small network on 96 px): the second opinion."""

from __future__ import annotations

import numpy as np

from mema.faces.attributes import Attributes, unknown
from mema.faces.insightface_models import load_model
from mema.files import sha256_json
from mema.weights import digest, locate

# The settings of the library's own FaceAnalysis: a coarse look for faces that fill the photo, a fine one for others.
DETECTION_SIZES = [(128, 128), (640, 640)]
DETECTION_SCORE = 0.5


class InsightFaceEstimator:
    """What ``FaceAnalysis.get`` says of the largest face; of the pack only the detector and this network are needed."""

    def __init__(self, name: str = "insightface") -> None:
        detector, network = locate("insightface/detector"), locate("insightface/genderage")
        self.name = name
        self._detector = load_model(detector, "detection")
        self._network = load_model(network, "genderage")
        self._detector.prepare(0, input_size=DETECTION_SIZES, det_thresh=DETECTION_SCORE)
        self.revision = sha256_json([digest(detector), digest(network)])

    def estimate(self, images: np.ndarray) -> Attributes:
        """Read ``images``, uint8 RGB (N, H, W, 3); the library takes them one by one."""
        from insightface.app.common import Face

        said = unknown(len(images))
        for row, image in enumerate(images):
            photo = np.ascontiguousarray(image[..., ::-1])
            boxes, _ = self._detector.detect(photo, max_num=1, metric="max")
            if len(boxes):
                male, age = self._network.get(photo, Face(bbox=boxes[0, :4]))
                said.ages[row] = np.clip(age, 0, 120)
                said.genders[row] = "male" if male else "female"
        return said
