"""The attack ladder of one method: every attacker's column, and each image's worst case over those that count."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.attacks.certificates import NAIVE, attackers_of
from benchmark.attacks.material import Material, learning_of, target_of
from benchmark.attacks.protocol import ATTACKERS
from benchmark.config import BenchmarkConfig
from benchmark.remember import remembered
from mema.imageset import ImageSet
from mema.result import Attack

COUNTED, ASIDE = "attack.", "aside."
NOTHING = COUNTED + "withheld"
WITHHELD = "the method gave attackers nothing to work with: every image counts as traced"


class Ladder(NamedTuple):
    """``scores``: per column the chance in [0, 1] that an image is traced, float (N,); ``attacks``: what each is worth.

    A column is called ``attack.<name>`` where it counts in the worst case, ``aside.<name>`` where it does not.
    """

    scores: dict[str, np.ndarray]
    attacks: list[Attack]


def climb(
    folder: Path,
    *,
    own: ImageSet,
    others: ImageSet,
    probes: ImageSet,
    material: Material | None,
    naive: np.ndarray,
    failed: np.ndarray,
    certificates: Mapping[str, Attack],
    config: BenchmarkConfig,
) -> Ladder:
    """Attack the de-identified ``probes`` with all that ``config.ladder`` names; what ``folder`` keeps is not redone.

    ``naive`` are the scores (N,) of the held-out recognisers, ``failed`` (N,) marks images that were not delivered:
    they count as traced. So does every image of a method that leaves attackers without what each is to have. A column
    without its certificate is reported, void; the naive one always counts: it never makes a method look safer.
    """
    if not config.ladder.attackers:
        return Ladder({}, [])
    scores: dict[str, np.ndarray] = {NAIVE: naive}
    notes: dict[str, str] = {}
    learning = None if material is None else learning_of(own, material)
    for name in attackers_of(config)[1:]:
        columns = ATTACKERS.load(name).columns
        if material is None or learning is None:
            notes |= dict.fromkeys(columns, WITHHELD)
            continue

        def trace(name: str = name) -> dict[str, list[float]]:
            assert material is not None and learning is not None
            attacker = ATTACKERS.load(name)(learning, config)
            traced = attacker.trace(target_of(probes, others, material))
            return {column: values.tolist() for column, values in traced.items()}

        sets = [one.digest for one in (own, others, probes, *material) if isinstance(one, ImageSet)]
        identity = {"protocol": config.protocol_reference().version, "sets": sets}
        kept = remembered(folder / f"{name}.json", identity, trace)
        scores |= {column: np.array(values) for column, values in kept.items()}
        notes |= {
            column: "does not apply to this method" if rules.keyed else WITHHELD
            for column, rules in columns.items()
            if column not in kept
        }
    named = {score_name(certificates[name]): np.where(failed, 1.0, column) for name, column in scores.items()}
    if WITHHELD in notes.values():
        named[NOTHING] = np.ones(len(naive))
    attacks = []
    for name, attack in certificates.items():
        note = notes.get(name, "") if attack.certified else _void(attack)
        attacks.append(attack.model_copy(update={"note": note}))
    return Ladder(named, attacks)


def score_name(attack: Attack) -> str:
    """Return what the scores of a column are called in a result, which says whether they count."""
    counts = attack.name == NAIVE or (attack.ranked and attack.certified)
    return (COUNTED if counts else ASIDE) + attack.name


def absent_columns(scores: Collection[str], certificates: Iterable[Attack]) -> list[str]:
    """Return which columns a result should hold among its ``scores`` and does not, if anybody could learn at all."""
    if NOTHING in scores:
        return []
    names = [score_name(attack) for attack in certificates if not attack.keyed]
    return [name for name in names if name not in scores]


def _void(attack: Attack) -> str:
    weak, rate = min(attack.rates.items(), key=lambda measured: measured[1])
    return f"void: it traced {rate:.0%} of '{weak}', and {attack.needed:.0%} would certify it"
