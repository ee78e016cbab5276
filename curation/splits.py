"""Cut a release into train, selection and validation: whole groups at a time, diseases in proportion."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from mema.errors import UserError
from mema.records import Split
from mema.release import SPLITS

ROUNDS = 50


def assign_splits(
    groups: Sequence[Hashable],
    diseases: Sequence[str],
    shares: Mapping[str, float],
    fixed: Mapping[Hashable, Split] | None = None,
) -> list[Split]:
    """Return the split of each image; no group is in two splits, and a group of ``fixed`` is in the split it says.

    ``shares`` are relative sizes. Greedy and deterministic: largest groups first, each to the split where it lowers
    the sum over split x disease of (count - target)² / target the most; then groups move while that lowers it further.
    UserError when a split stays empty.
    """
    codes = sorted(set(diseases))
    names = list(dict.fromkeys(groups))
    table = np.zeros((len(names), len(codes)))
    index = {name: row for row, name in enumerate(names)}
    for group, disease in zip(groups, diseases, strict=True):
        table[index[group], codes.index(disease)] += 1
    weights = np.array([shares[split] for split in SPLITS])
    target = np.outer(weights / weights.sum(), table.sum(axis=0))

    counts = np.zeros_like(target)
    place = np.full(len(names), -1)
    for name, split in (fixed or {}).items():
        if name in index:
            place[index[name]] = SPLITS.index(split)
            counts[place[index[name]]] += table[index[name]]
    order = [group for group in np.argsort(-table.sum(axis=1), kind="stable") if place[group] < 0]
    for _ in range(ROUNDS):
        before = place.copy()
        for group in order:
            if place[group] >= 0:
                counts[place[group]] -= table[group]
            # Only the rows that change matter: (c + t - g)² - (c - g)² over g.
            gain = ((2 * (counts - target) + table[group]) * table[group] / target).sum(axis=1)
            place[group] = int(gain.argmin())
            counts[place[group]] += table[group]
        if (place == before).all():
            break
    empty = [split for number, split in enumerate(SPLITS) if not (place == number).any()]
    if empty:
        raise UserError(
            f"the split '{empty[0]}' would be empty: {len(groups)} images in {len(names)} groups"
            " (by donor and near-duplicate) are too few"
        )
    return [SPLITS[place[index[group]]] for group in groups]
