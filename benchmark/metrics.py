"""The metrics of a result: which score each one averages, its direction, version and how to read it.

The one table that results, the page and the documentation take names and wording from, together with the definitions
of the tracks in force. A metric whose meaning changes gets a new version and a line in the changelog.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmark.config import BenchmarkConfig
from benchmark.definition import Definition
from benchmark.judge import MatchThreshold
from benchmark.statistics import interval_of
from benchmark.tracks.disease import per_class
from benchmark.tracks.identity import verification
from benchmark.tracks.protocol import TRACKS, Stated
from mema.result import Interval, Metric

METRICS = (
    Definition(
        "balanced",
        "Balanced",
        True,
        True,
        "The mean of utility and privacy. Publishing the photo, or a black square, scores one half at best.",
        version="2",
    ),
    Definition(
        "utility",
        "Utility",
        True,
        True,
        "Share of images whose disease the judge still recognises and in which a face is still found. A face that "
        "the detector already missed in the original is not held against the method.",
    ),
    Definition(
        "privacy",
        "Privacy",
        True,
        True,
        "One minus worst attack: the share of images that no certified attacker traces to their person.",
        version="2",
    ),
    Definition(
        "attack",
        "Worst attack",
        False,
        True,
        "Share of images that at least one attacker traces, of those that count: naive recognisers, and whoever learnt "
        "from photos of other people before and after the method and broke the planted weak methods. Many attackers "
        "who guess are right more often than one: compare with the row of blackout.",
    ),
    Definition(
        "aside",
        "Beside the ranking",
        False,
        True,
        "Share of images traced by who holds the right key, or by an attacker without a certificate: reported, and "
        "counted nowhere.",
        whole=False,
    ),
    Definition(
        "disease_top1",
        "Disease top-1",
        True,
        True,
        "Share of images whose disease is the first answer of a classifier fine-tuned on the originals of the "
        "training split (MeMa, Table 3); the mean of several that differ in their seed, each of which is a part.",
        version="2",
    ),
    Definition(
        "shortcut",
        "Shortcut gap",
        False,
        False,
        "How much more of its disease an image loses than its original does when it is saved as JPEG, resized or "
        "denoised, or read by an encoder of another family; the mean of the four. Above zero: a signal that only the "
        "judge sees.",
        lowest=-2.0,
        highest=2.0,
    ),
    Definition("detection", "Faces found", True, True, "Share of images in which dlib's detector still finds a face."),
    Definition(
        "identification",
        "Identification",
        False,
        True,
        "Rank-1 matching rate in a closed gallery of all validation originals. The gallery holds the very photo that "
        "was de-identified. An image counts as found if any held-out recogniser finds it; images without a "
        "detected face stay in.",
    ),
    Definition(
        "verification",
        "Verification",
        False,
        True,
        "Share of images that any held-out recogniser still accepts as the same person at the threshold calibrated "
        "on the training split; the interval includes the threshold's own.",
    ),
    Definition(
        "verification_strict",
        "Verification, strict",
        False,
        True,
        "The same at the stricter false accept rate.",
    ),
    Definition(
        "identity_distance",
        "ID-Dis",
        True,
        False,
        "Mean Euclidean distance between the unit vectors of original and de-identified face over the held-out "
        "recognisers (MeMa, Table 5). Strangers lie 1.41 apart where a recogniser's vectors are centred, nearer "
        "where they are not (dlib); compare with the row of blackout.",
        highest=2.0,
    ),
)


def definitions_of(config: BenchmarkConfig) -> tuple[Definition, ...]:
    """Return the metrics that every result has, then those of the tracks that ``config`` names."""
    return METRICS + tuple(definition for name in config.tracks for definition in TRACKS.load(name).definitions)


def metrics_of(
    scores: Mapping[str, np.ndarray],
    thresholds: Mapping[str, MatchThreshold],
    diseases: Sequence[str],
    subjects: Sequence[str],
    config: BenchmarkConfig,
    stated: Mapping[str, Stated] | None = None,
) -> list[Metric]:
    """Return the mean of each metric's per-image scores with its interval; then those of parts; then what is stated.

    ``scores`` are as ``benchmark.run.score`` has them, each float (N,), NaN for an image without one, which its mean
    leaves out; a name such as ``identification.dlib`` is one recogniser's part of a metric. ``stated`` are numbers of
    the whole set, by name.
    """
    by_name = {definition.name: definition for definition in definitions_of(config)}
    whole = [name for name in by_name if name in scores]
    metrics = []
    for name in [*whole, *(name for name in scores if "." in name)]:
        there = ~np.isnan(scores[name])
        if not there.any():
            continue
        definition = by_name[name.partition(".")[0]]
        metrics.append(
            Metric(
                name=name,
                version=definition.version,
                value=float(scores[name][there].mean()),
                higher_is_better=definition.higher_is_better,
                interval=_interval(name, definition, scores, thresholds, subjects, config),
                per_class=per_class(scores[name], diseases) if name == "disease_top1" else {},
            )
        )
    for name, number in (stated or {}).items():
        definition = by_name[name.partition(".")[0]]
        metrics.append(
            Metric(
                name=name,
                version=definition.version,
                value=number.value,
                higher_is_better=definition.higher_is_better,
                interval=number.interval,
            )
        )
    return metrics


def _interval(
    name: str,
    definition: Definition,
    scores: Mapping[str, np.ndarray],
    thresholds: Mapping[str, MatchThreshold],
    subjects: Sequence[str],
    config: BenchmarkConfig,
) -> Interval:
    """Return the bootstrap interval; that of a verification rate spans both ends of the threshold's interval."""

    def bootstrap(values: np.ndarray) -> Interval:
        there = ~np.isnan(values)
        whose = [subject for subject, has in zip(subjects, there, strict=True) if has]
        return interval_of(values[there], whose, draws=config.bootstrap_draws, seed=config.seed, share=definition.share)

    metric, _, part = name.partition(".")
    if metric not in ("verification", "verification_strict"):
        return bootstrap(scores[name])
    strict = metric == "verification_strict"
    recognisers = [part] if part else list(thresholds)

    def matched(end: Callable[[MatchThreshold], float]) -> np.ndarray:
        each = [verification(scores[f"identity_distance.{other}"], end(thresholds[other])) for other in recognisers]
        return np.max(each, axis=0)

    low = bootstrap(matched(lambda t: t.strict_low if strict else t.low))
    high = bootstrap(matched(lambda t: t.strict_high if strict else t.high))
    return Interval(low=low.low, high=high.high, level=low.level)
