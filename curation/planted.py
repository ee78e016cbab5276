"""The audit audited: leaks are planted, and the share that it finds is its detection limit (DESIGN §4).

Planted are patients' own photos, the same photos after handling, other photos of the same patients, and blends of a
patient's photo with a stranger's. They exist in memory only.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageEnhance

from curation.embedding import embed_images, join
from curation.report import ANY, MAJORITY, Planted, Strength
from mema.engine import map_batches
from mema.faces.leakage import Rate, rate, subject_distances
from mema.faces.recognisers import Embeddings
from mema.imageset import ImageSet

COPY, HANDLED, OTHER_PHOTO, NOBODY = "copy", "handled copy", "other photo", "nobody"
REQUIRED = 0.9


def detection_limit(
    cohort: ImageSet,
    strangers: ImageSet,
    vectors: Mapping[str, np.ndarray],
    thresholds: Mapping[str, float],
    *,
    members: int,
    alphas: Sequence[float],
    seed: int,
) -> Planted:
    """Plant leaks of ``members`` patients at every strength and return the recall of each recogniser.

    ``vectors`` and ``thresholds`` are per recogniser those of the cohort's photos (M, D) and its distance. A plant
    counts as found when a photo of *that* patient is nearer than the threshold, so chance hits do not help; in
    ``other photo`` the planted one is left out of the gallery. ``nobody`` are the strangers' photos themselves, found
    when any patient is near: the share of false alarms in this gallery. Blends are alpha x patient + (1 - alpha) x
    stranger, pixel by pixel.
    """
    subjects = [record.subject_id for record in cohort.records()]
    rows = draw_members(subjects, members, seed)
    photos = pick(cohort, rows)
    others = pick(strangers, np.linspace(0, strangers.count - 1, len(rows)).astype(int).tolist())
    plants = {
        COPY: photos,
        HANDLED: np.stack([handle(photo) for photo in photos]),
        **{blend_name(alpha): blend(photos, others, alpha) for alpha in sorted(alphas, reverse=True)},
        NOBODY: others,
    }
    read = _embed(np.concatenate(list(plants.values())), list(thresholds))

    order = {subject: column for column, subject in enumerate(dict.fromkeys(subjects))}
    own = np.array([order[subjects[row]] for row in rows])
    found: dict[str, dict[str, np.ndarray]] = {level: {} for level in plants}
    found[OTHER_PHOTO] = {}
    for name, threshold in thresholds.items():
        distances = subject_distances(read[name].vectors, vectors[name], subjects)
        for number, level in enumerate(plants):
            part = distances[number * len(rows) : (number + 1) * len(rows)]
            hits = part.min(axis=1) if level == NOBODY else part[np.arange(len(rows)), own]
            found[level][name] = hits < threshold
        found[OTHER_PHOTO][name] = _nearest_other(vectors[name], subjects, rows) < threshold
    levels = [COPY, HANDLED, OTHER_PHOTO, *(level for level in plants if level not in (COPY, HANDLED))]
    recall = {level: _rates(found[level]) for level in levels}
    return Planted(
        members=len(rows),
        required=REQUIRED,
        strengths=[Strength(planted=level, recall=rates) for level, rates in recall.items()],
        limit={name: _limit(recall, name, alphas) for name in recall[COPY]},
    )


def draw_members(subjects: Sequence[str], members: int, seed: int) -> list[int]:
    """Return the row of one photo of each of at most ``members`` patients, those with several photos first."""
    photos: dict[str, list[int]] = {}
    for row, subject in enumerate(subjects):
        photos.setdefault(subject, []).append(row)
    random = np.random.default_rng(seed)
    several = [rows for rows in photos.values() if len(rows) > 1]
    single = [rows for rows in photos.values() if len(rows) == 1]
    chosen = [group[i] for group in (several, single) for i in random.permutation(len(group))][:members]
    return sorted(int(random.choice(rows)) for rows in chosen)


def pick(source: ImageSet, rows: Sequence[int]) -> np.ndarray:
    """Return the images of ``rows``, uint8 (len(rows), H, W, 3); a row may repeat."""
    wanted = set(rows)
    images = {row: face.image for row, face in enumerate(source.faces()) if row in wanted}
    return np.stack([images[row] for row in rows])


def handle(image: np.ndarray) -> np.ndarray:
    """Return a near-duplicate: cropped by 4 % a side, a tenth brighter, as JPEG of quality 50."""
    height, width = image.shape[:2]
    margin = (round(width * 0.04), round(height * 0.04))
    box = (*margin, width - margin[0], height - margin[1])
    copy = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, box=box)
    buffer = io.BytesIO()
    ImageEnhance.Brightness(copy).enhance(1.1).save(buffer, "JPEG", quality=50)
    return np.asarray(Image.open(buffer))


def blend(photos: np.ndarray, others: np.ndarray, alpha: float) -> np.ndarray:
    """Return ``alpha`` x photos + (1 - alpha) x others, uint8 (N, H, W, 3)."""
    return np.round(alpha * photos.astype(float) + (1 - alpha) * others).astype(np.uint8)


def blend_name(alpha: float) -> str:
    """Return the name of a blend's strength."""
    return f"blend {alpha:g}"


def _embed(images: np.ndarray, names: list[str]) -> dict[str, Embeddings]:
    """One image at a time would hide how long it takes: batches under a progress bar."""
    batches = map_batches(
        lambda rows: embed_images(np.stack(rows), names), list(images), batch_size=16, label="planted"
    )
    parts = list(batches)
    return {name: join([part[name] for part in parts]) for name in names}


def _nearest_other(vectors: np.ndarray, subjects: Sequence[str], rows: Sequence[int]) -> np.ndarray:
    """Return how near each patient's own other photos are; infinite where there is none."""
    of = np.array(subjects)
    nearest = []
    for row in rows:
        others = np.flatnonzero((of == of[row]) & (np.arange(len(of)) != row))
        nearest.append(min(np.linalg.norm(vectors[others] - vectors[row], axis=1), default=np.inf))
    return np.array(nearest)


def _rates(found: Mapping[str, np.ndarray]) -> dict[str, Rate]:
    votes = np.stack(list(found.values())).sum(axis=0)
    joined = {ANY: votes > 0, MAJORITY: votes > len(found) / 2}
    return {name: rate(hits) for name, hits in {**found, **joined}.items()}


def _limit(recall: Mapping[str, Mapping[str, Rate]], name: str, alphas: Sequence[float]) -> float | None:
    limit = None
    for alpha in sorted(alphas, reverse=True):
        if recall[blend_name(alpha)][name].value < REQUIRED:
            break
        limit = alpha
    return limit
