"""Which images must share a split, and in which split those stay that an earlier version has placed.

Images of one donor, of one subject and near-duplicates make a group. What an earlier version placed stays where it is,
and what joins its group goes there too; a new image that would join two groups of different splits is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from curation.duplicates import near_pairs
from mema.errors import UserError
from mema.records import FaceRecord, Split


class Pictures(NamedTuple):
    """N records and their thumbnails, float32 (N, 768)."""

    records: Sequence[FaceRecord]
    thumbnails: np.ndarray


class Placing(NamedTuple):
    """The group of each image, None where it is left out, and the split of the groups that have one already."""

    groups: list[Hashable | None]
    fixed: dict[Hashable, Split]


def place(now: Pictures, before: Pictures, known: Mapping[str, Split], limit: float) -> Placing:
    """Return the groups of ``now``, given the pictures of the version before and the splits that are ``known`` by id.

    Near-duplicates differ by less than ``limit`` grey levels. UserError when an id stands for another picture than
    before, or when near-duplicates lie in two splits already.
    """
    _same_pictures(now, before)
    earlier = [row for row, record in enumerate(before.records) if record.image_id not in _ids(now)]
    # What is placed comes first, so that a new image that bridges two splits is recognised as the one too many.
    order = sorted(range(len(now.records)), key=lambda row: now.records[row].image_id not in known)
    records = [*(before.records[row] for row in earlier), *(now.records[row] for row in order)]
    thumbnails = np.concatenate([before.thumbnails[earlier], now.thumbnails[order]])
    neighbours: dict[int, list[int]] = defaultdict(list)
    for first, second in near_pairs(thumbnails, limit).tolist():
        neighbours[second].append(first)
    forest = _Forest()
    left_out: set[int] = set()
    for item, record in enumerate(records):
        near = [other for other in neighbours[item] if other not in left_out]
        nodes: list[Hashable] = [item, ("subject", record.subject_id), *near]
        if record.provenance.donor_id is not None:
            nodes.append(("donor", record.provenance.donor_id))
        split = known.get(record.image_id)
        splits = forest.splits(nodes) | ({split} if split else set())
        if len(splits) > 1 and split:
            raise UserError(
                f"{record.image_id} lies in the split '{split}' of an earlier version, others like it in"
                f" {' and '.join(sorted(splits - {split}))}: take the earlier version's release.group_rms"
            )
        if len(splits) > 1:
            left_out.add(item)
        else:
            forest.join(nodes, next(iter(splits), None))
    groups: list[Hashable | None] = [None] * len(order)
    for item, row in enumerate(order, len(earlier)):
        groups[row] = None if item in left_out else forest.root(item)
    return Placing(groups, dict(forest.split))


def _ids(pictures: Pictures) -> set[str]:
    return {record.image_id for record in pictures.records}


def _same_pictures(now: Pictures, before: Pictures) -> None:
    thumbnails = {record.image_id: row for row, record in zip(before.thumbnails, before.records, strict=True)}
    for record, thumbnail in zip(now.records, now.thumbnails, strict=True):
        old = thumbnails.get(record.image_id)
        if old is not None and not np.array_equal(old, thumbnail):
            raise UserError(f"{record.image_id} is another picture than in the version before: new images need new ids")


class _Forest:
    """Disjoint sets of hashable nodes, each in one split or in none yet."""

    def __init__(self) -> None:
        self.parent: dict[Hashable, Hashable] = {}
        self.split: dict[Hashable, Split] = {}

    def root(self, node: Hashable) -> Hashable:
        self.parent.setdefault(node, node)
        while self.parent[node] != node:
            self.parent[node] = self.parent[self.parent[node]]
            node = self.parent[node]
        return node

    def splits(self, nodes: Sequence[Hashable]) -> set[Split]:
        return {self.split[root] for root in map(self.root, nodes) if root in self.split}

    def join(self, nodes: Sequence[Hashable], split: Split | None) -> None:
        top = self.root(nodes[0])
        for node in nodes[1:]:
            other = self.root(node)
            self.parent[other] = top
            self.split.pop(other, None)
        if split is not None:
            self.split[top] = split
