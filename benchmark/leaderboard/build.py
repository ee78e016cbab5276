"""From a build's results to ``index.html``."""

from __future__ import annotations

from pathlib import Path

from benchmark.config import BenchmarkConfig
from benchmark.leaderboard.examples import make_examples
from benchmark.leaderboard.page import Subject, render_page
from benchmark.leaderboard.submissions import SHELF, submitted
from mema.build import Build
from mema.errors import UserError
from mema.files import atomic_write
from mema.release import Release
from mema.result import ReleaseReference, Result
from mema.taxonomy import load_taxonomy


def build_leaderboard(build: Build, shelf: Path = SHELF) -> Path:
    """Write ``build.leaderboard / index.html`` and return its path.

    The results are those of ``build.benchmark`` and, for methods that did not run here, those handed in for this
    release. The release gives the example pictures and says whether its faces are phantoms. UserError when there is
    no result, or when one is of another release, protocol or set of images.
    """
    config = build.section("benchmark", BenchmarkConfig)
    release = Release.open(build.release)
    results = {result.method.name: result for result in map(Result.load, build.benchmark.glob("*/result.json"))}
    for result in results.values():
        if result.release.digest != release.digest:
            raise UserError(f"the result of '{result.method.name}' is of another release: run it again")
    reference = ReleaseReference(name=release.name, version=release.version, digest=release.digest)
    handed_in = {result.method.name: result for result in submitted(reference, shelf)}
    everything = handed_in | results
    if not everything:
        raise UserError(f"{build.benchmark} holds no result: run 'mema benchmark run' first")
    # Floors in the order of the configuration, then what others add.
    order = [name for name in config.methods if name in results] + sorted(set(results) - set(config.methods))
    folders = {name: build.benchmark / name / "images" for name in order}
    examples = make_examples(release.imageset("validation"), folders, config.examples) if config.examples else None
    names = {disease.code: disease.name for disease in load_taxonomy(release.clinic).diseases}
    subject = Subject(release.phantom, release.machine_annotated, lambda code: names.get(code, code))
    page = render_page(
        [everything[name] for name in sorted(everything)],
        subject,
        examples,
        draws=config.bootstrap_draws,
        seed=config.seed,
    )
    return atomic_write(build.leaderboard / "index.html", page)
