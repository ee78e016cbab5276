"""One plan sampled several ways, the arms of the experiments: the same targets, donors and noise in each.

The samples lie on the private side, since some arms are there to show that they remember patients and none is audited.
What is there already is only read, and an interrupted run resumes, so that the experiments share arms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from generation.plan import PlanConfig, PlanRow, make_plan
from generation.reproduce.settings import EffectsConfig, private_output
from generation.sample import write_samples
from mema.build import Build
from mema.imageset import ImageSet
from mema.taxonomy import Taxonomy, load_taxonomy

VANILLA, PLAIN, DIRECT, INJECTED = "vanilla", "plain", "direct", "injected"
WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5)
WEIGHT_RANGE = (0.2, 0.4)
"""The paper draws donor weights from U[0.2, 0.4] (Section 3, Step 2)."""
BATCH = 64


class Arm(NamedTuple):
    """How an arm differs: by the fine-tuned weights or not; severity in the prompt or not; with donors or without.

    ``donors``: False, True for the plan's own weights, or one weight for all.
    """

    tuned: bool = True
    severity: bool = True
    donors: bool | float = False


def weight_name(weight: float) -> str:
    """Return the name of the arm of a fixed donor weight."""
    return f"weight {weight:g}"


ARMS = {
    VANILLA: Arm(tuned=False, severity=False),
    PLAIN: Arm(severity=False),
    DIRECT: Arm(),
    **{weight_name(weight): Arm(donors=weight) for weight in WEIGHTS},
    INJECTED: Arm(donors=True),
}


def draw_rows(build: Build, config: EffectsConfig) -> list[PlanRow]:
    """Return the plan that all arms share: the build's settings, weights drawn from U[0.2, 0.4].

    UserError if the donors do not suffice for ``config.samples`` images.
    """
    changes = {"count": config.samples, "seed": config.seed, "donor_weight": WEIGHT_RANGE}
    plan = build.section("plan", PlanConfig).model_copy(update=changes)
    cohort, donors = (ImageSet.open(path).records() for path in (build.cohort, build.donors))
    return make_plan(cohort, donors, load_taxonomy(build.clinic), plan)


def rows_of(arm: Arm, rows: Sequence[PlanRow], taxonomy: Taxonomy) -> list[PlanRow]:
    """Return the plan's rows as an arm samples them."""
    changed = []
    for row in rows:
        update: dict[str, object] = {}
        if not arm.severity:
            update |= {"severity": None, "prompt": taxonomy.caption(row.disease)}
        if arm.donors is False:
            update |= {"donor_id": None, "donor_weight": None}
        elif arm.donors is not True:
            update |= {"donor_weight": arm.donors}
        changed.append(row.model_copy(update=update))
    return changed


def sample_arm(build: Build, rows: Sequence[PlanRow], name: str) -> ImageSet:
    """Sample an arm of the plan ``rows``, or open it if it is there."""
    arm = ARMS[name]
    path = private_output(build, name.replace(" ", "-"))
    asked = rows_of(arm, rows, load_taxonomy(build.clinic))
    return write_samples(build, path, asked, tuned=build.lora if arm.tuned else None, label=f"sample {name}")


def batches_of(source: ImageSet, label: str) -> Iterator[np.ndarray]:
    """Yield the images, uint8 (up to 64, H, W, 3), under a progress bar; no more than a shard is in memory."""
    with tqdm(total=source.count, desc=label, unit="image", disable=None) as bar:
        for batch in source.batches(BATCH):
            yield batch
            bar.update(len(batch))
