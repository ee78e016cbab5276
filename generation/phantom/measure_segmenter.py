"""How well the shipped segmenter outlines a phantom's tumour from one click, a box, or no hint at all.

The patients are of the population "judges", whom no instrument was trained on: the two tumours of the lid in turn, one
photo each, half of them taken freely and half by a clinic's protocol, severities uniform.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from generation.phantom.population import Case, draw_patient
from generation.phantom.render import Photo, render_batch
from mema.statistics import clustered_bootstrap
from mema.weights import locate

TUMOURS = ("bcc", "scc")


def measure_segmenter(
    patients: int = 200, *, seed: int = 0, folder: Path | None = None, workers: int = 1
) -> dict[str, Any]:
    """Measure the weights in ``folder``, the shipped ones without, on ``patients``.

    Returns mean IoU to the truth with its 95 % bootstrap interval (``…_low``, ``…_high``) of the outline from
    ``one_click`` on the tumour's middle, one click ``anywhere`` on it, a ``box`` around it; ``one_click`` by disease;
    and ``told``: how often (AUC) the segmenter expects a higher IoU of a click on the tumour than of one on other skin.
    """
    from sklearn.metrics import roc_auc_score

    cases = tumour_cases(patients, seed)
    rng = np.random.default_rng([seed, 0xC11C])
    segmenter = _Segmenter(folder or locate("phantom-segmenter"))
    rows: dict[str, list[float]] = {"one_click": [], "anywhere": [], "box": []}
    expected: dict[str, list[float]] = {"on": [], "beside": []}
    diseases = []
    jobs = [(case.subject, case.shots[0], case.finding) for case in cases]
    for case, photo in zip(cases, render_batch(jobs, workers=workers), strict=True):
        if not photo.lesion.any():
            continue
        diseases.append(case.disease)
        hints = _hints(photo, rng)
        segmenter.see(photo.image)
        for name in rows:
            mask, score = segmenter.outline(hints[name])
            rows[name].append(float((mask & photo.lesion).sum() / (mask | photo.lesion).sum()))
            if name == "anywhere":
                expected["on"].append(score)
        expected["beside"].append(segmenter.outline(hints["beside"])[1])
    report: dict[str, Any] = {"photos": len(diseases)}
    for name, reached in rows.items():
        low, high = clustered_bootstrap(np.array(reached), range(len(reached)), seed=seed)
        report |= {name: float(np.mean(reached)), f"{name}_low": low, f"{name}_high": high}
    for disease in TUMOURS:
        of_it = [reached for code, reached in zip(diseases, rows["one_click"], strict=True) if code == disease]
        report[f"one_click_{disease}"] = float(np.mean(of_it))
    truth = [1] * len(expected["on"]) + [0] * len(expected["beside"])
    report["told"] = float(roc_auc_score(truth, expected["on"] + expected["beside"]))
    return report


def tumour_cases(patients: int, seed: int = 0) -> list[Case]:
    """Draw ``patients`` with a tumour and one shot each."""
    return [
        draw_patient(
            "judges",
            "eye_clinic",
            index,
            seed,
            disease=TUMOURS[index % 2],
            photos=(1, 1),
            photography="clinical" if index // 2 % 2 else "free",
        )
        for index in range(patients)
    ]


def _hints(photo: Photo, rng: np.random.Generator) -> dict[str, list[float]]:
    """A click is (x, y) in pixels, a box (left, top, right, bottom)."""
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(photo.lesion, 1))[1:-1, 1:-1]
    y, x = np.nonzero(photo.lesion)
    skin_y, skin_x = np.nonzero(photo.face_region & ~photo.lesion)
    middle = np.unravel_index(int(depth.argmax()), depth.shape)
    one, other = int(rng.integers(len(x))), int(rng.integers(len(skin_x)))
    return {
        "one_click": [float(middle[1]), float(middle[0])],
        "anywhere": [float(x[one]), float(y[one])],
        "box": [float(x.min()), float(y.min()), float(x.max()), float(y.max())],
        "beside": [float(skin_x[other]), float(skin_y[other])],
    }


class _Segmenter:
    """The weights as transformers runs them: an image is seen once, then hints give outlines."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import SamModel, SamProcessor

        self.model = SamModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
        self.processor = SamProcessor.from_pretrained(folder, local_files_only=True)

    def see(self, image: np.ndarray) -> None:
        """Embed uint8 RGB of the size that the weights were trained on, so that pixels need no scaling."""
        inputs = self.processor(images=image, return_tensors="pt")
        self.sizes = [inputs[name] for name in ("original_sizes", "reshaped_input_sizes")]
        self.embedding = self.model.get_image_embeddings(inputs["pixel_values"])

    def outline(self, hint: list[float]) -> tuple[np.ndarray, float]:
        """Return the mask, bool (H, W), for a click or a box, and the IoU that is expected of it."""
        import torch

        click = len(hint) == 2
        given = torch.tensor(hint).view(1, 1, 1, 2) if click else torch.tensor(hint).view(1, 1, 4)
        with torch.inference_mode():
            name = "input_points" if click else "input_boxes"
            out = self.model(image_embeddings=self.embedding, multimask_output=click, **{name: given})
        mask = self.processor.post_process_masks(out.pred_masks, *self.sizes)[0]
        return mask[0, 0].numpy(), float(out.iou_scores[0, 0, 0])
