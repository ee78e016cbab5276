"""Reversibility (MeMa Table 8): what the right key gives back of a photo, its person and its disease.

Only of reversible methods; what a wrong or a near key gives is an attacker's question (``benchmark.attacks.keys``).
An image that was not de-identified or not opened counts as lost: so does any that came back black.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmark.config import BenchmarkConfig
from benchmark.definition import Definition
from benchmark.embedding import embedded
from benchmark.judge import CLASSIFIER, VECTORS, diseases_of
from benchmark.tracks.disease import correct
from benchmark.tracks.identity import identification, identity_distance
from benchmark.tracks.protocol import Measured, Sample
from benchmark.tracks.quality import BATCH, LPIPS_MOST, NETWORKS, PSNR_MOST, compare, networks_for, spread, with_worst
from mema.files import read_json, write_json
from mema.imageset import ImageSet
from mema.release import Release

PREFIX = "recovered_"


class Recovery:
    """Likeness, identity and disease of what the right key opens; its folder lies in the judge's."""

    title: ClassVar[str] = "Recovery"
    table: ClassVar[str] = "Table 8"
    definitions: ClassVar[tuple[Definition, ...]] = (
        Definition(
            "recovered_identity_distance",
            "Recovered ID-Dis",
            False,
            False,
            "Euclidean distance between the unit vectors of recovered and original face, the mean over the held-out "
            "recognisers: here near is good.",
            highest=2.0,
        ),
        Definition(
            "recovered_psnr",
            "Recovered PSNR (dB)",
            True,
            False,
            "Peak signal-to-noise ratio of the recovered image to the original; at most 60 dB.",
            highest=PSNR_MOST,
        ),
        Definition(
            "recovered_lpips",
            "Recovered LPIPS",
            False,
            False,
            "LPIPS of the recovered image to the original.",
            highest=LPIPS_MOST,
            whole=False,
        ),
        Definition(
            "recovered_perceptual",
            "Recovered perceptual distance",
            False,
            False,
            "Distance of the recovered image to the original in the features of the network that is named: no LPIPS.",
            whole=False,
        ),
        Definition(
            "recovered_ms_ssim",
            "Recovered MS-SSIM",
            True,
            False,
            "Multi-scale structural similarity of the recovered image to the original.",
        ),
        Definition(
            "recovered_match",
            "Recovered identity",
            True,
            True,
            "Share of recovered images for which every held-out recogniser finds their own original nearest among all "
            "originals.",
        ),
        Definition(
            "recovered_top1",
            "Recovered disease top-1",
            True,
            True,
            "Share of recovered images whose disease the judges recognise; the mean of all of them.",
        ),
    )

    def __init__(self, config: BenchmarkConfig) -> None:
        self._config = config

    def prepare(self, release: Release, folder: Path) -> dict[str, float]:
        """Write to ``folder`` which weights the networks are for this clinic."""
        write_json(folder / NETWORKS, networks_for(release.clinic, self._config.quality.perceptual))
        originals = release.imageset("validation")
        untouched = Sample(originals, originals, np.zeros(originals.count, bool), originals)
        first, again = (self.measure(untouched, folder) for _ in range(2))
        judges = [column.mean() for name, column in first.scores.items() if name.startswith(f"{PREFIX}top1.judge-")]
        # Judges differ in their seed; all else on untouched originals is computed without one.
        return spread(first, again) | ({f"{PREFIX}top1": float(np.std(judges, ddof=1))} if len(judges) > 1 else {})

    def measure(self, sample: Sample, folder: Path) -> Measured:
        """Measure; a method that is not reversible has no such scores."""
        if sample.recovered is None:
            return Measured({})
        judge = folder.parent.parent
        scores = compare(
            sample.recovered, sample.originals, self._config.quality.perceptual, read_json(folder / NETWORKS)
        )
        scores |= self._identities(sample.originals, sample.recovered, judge)
        scores |= self._diseases(sample.originals, sample.recovered, judge)
        black = [(batch == 0).all(axis=(1, 2, 3)) for batch in sample.recovered.batches(BATCH)]
        named = {PREFIX + name: column for name, column in scores.items()}
        return Measured(with_worst(named, sample.failed | np.concatenate(black), self.definitions))

    def _identities(self, originals: ImageSet, recovered: ImageSet, judge: Path) -> dict[str, np.ndarray]:
        """Return ``identity_distance`` and ``match``, whole and by each recogniser, (N,)."""
        from safetensors.numpy import load_file

        subjects = [record.subject_id for record in originals.records()]
        kept = load_file(judge / VECTORS)
        distances, matches = {}, {}
        for name in self._config.recognisers:
            gallery, probes = kept[f"vectors.{name}"], embedded(recovered, name, BATCH)
            distances[f"identity_distance.{name}"] = identity_distance(gallery, probes)
            matches[f"match.{name}"] = identification(probes, gallery, subjects, subjects)
        return {
            "identity_distance": np.mean(list(distances.values()), axis=0),
            "match": np.min(list(matches.values()), axis=0),
            **distances,
            **matches,
        }

    def _diseases(self, originals: ImageSet, recovered: ImageSet, judge: Path) -> dict[str, np.ndarray]:
        """Return ``top1``, whole and by each judge, (N,)."""
        from mema import classifier

        diseases = diseases_of(originals)
        each = {}
        for number in range(self._config.judge.judges):
            model = classifier.load(judge / CLASSIFIER.format(number))
            answers = [classifier.predict(model, batch) for batch in recovered.batches(BATCH)]
            each[f"top1.judge-{number + 1}"] = correct(np.concatenate(answers), model.classes, diseases)
        return {"top1": np.mean(list(each.values()), axis=0), **each}
