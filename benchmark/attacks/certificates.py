"""Which attackers' columns count: each attacker meets planted weak methods, with the very data it attacks with.

An attacker that cannot trace a blurred photo proves nothing when it cannot trace a de-identified one.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmark.attacks.material import Learning, Target, one_bit_away
from benchmark.attacks.planted import PLANTED, Planted
from benchmark.attacks.protocol import ATTACKERS
from benchmark.config import BenchmarkConfig
from benchmark.deidentify import image_key
from benchmark.remember import remembered
from mema.imageset import ImageSet
from mema.result import Attack

NAIVE = "naive"


def attackers_of(config: BenchmarkConfig) -> list[str]:
    """Return the names of the attackers in force, the naive one first; none when no other is asked for."""
    if not config.ladder.attackers:
        return []
    return [NAIVE, *(name for name in config.ladder.attackers if name != NAIVE)]


def certify(
    folder: Path, own: ImageSet, originals: ImageSet, others: ImageSet, config: BenchmarkConfig
) -> dict[str, Attack]:
    """Return each column's certificate; what was measured is kept in ``folder`` and not measured again.

    ``own`` are the attackers' photos, ``originals`` those to be traced, ``others`` the gallery.
    """
    certificates = {}
    for name in attackers_of(config):
        columns = ATTACKERS.load(name).columns
        rates: dict[str, dict[str, float]] = {column: {} for column in columns}
        for weak in sorted({weak for column in columns.values() for weak in column.breaks}):
            measured = remembered(
                folder / f"{name}-{weak}.json",
                {
                    "protocol": config.protocol_reference().version,
                    "sets": [own.digest, originals.digest, others.digest],
                },
                partial(_rates, name, PLANTED[weak], own, originals, others, config),
            )
            for column, rate in measured.items():
                if weak in columns[column].breaks:
                    rates[column][weak] = rate
        for column, (title, breaks, ranked, keyed) in columns.items():
            certificates[column] = Attack(
                name=column,
                title=title,
                ranked=ranked,
                keyed=keyed,
                # A column that a weak method should have filled and did not was not able to.
                rates={weak: rates[column].get(weak, 0.0) for weak in breaks},
                needed=config.ladder.certificate,
            )
    return certificates


def _rates(
    name: str, weak: Planted, own: ImageSet, originals: ImageSet, others: ImageSet, config: BenchmarkConfig
) -> dict[str, float]:
    attacker = ATTACKERS.load(name)(planted_learning(weak, own, config.seed), config)
    target = planted_target(weak, originals, others, config.seed)
    return {column: float(scores.mean()) for column, scores in attacker.trace(target).items()}


def planted_learning(weak: Planted, own: ImageSet, seed: int) -> Learning:
    """Return what attackers learn from of a planted method."""
    clear, records = own.images(), own.records()
    keys = [image_key(record, seed) for record in records]
    return Learning(clear, weak.deidentify(clear, keys), [record.subject_id for record in records])


def planted_target(weak: Planted, originals: ImageSet, others: ImageSet, seed: int) -> Target:
    """Return whom they are to trace."""
    keys, other_keys = ([image_key(record, seed) for record in photos.records()] for photos in (originals, others))
    gallery = others.images()
    probes = weak.deidentify(originals.images(), keys)
    subjects = [record.subject_id for record in originals.records()]
    target = Target(probes, gallery, subjects, weak.deidentify(gallery, other_keys), weak.deidentify(gallery, keys))
    if weak.recover is None:
        return target
    near = [one_bit_away(key) for key in keys]
    return target._replace(recovered=weak.recover(probes, keys), nearly=weak.recover(probes, near))
