"""Clinical agreement on readers whose agreement is planted, on machines, and on a study that physicians answered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmark.config import AgreementConfig, BenchmarkConfig
from benchmark.reader_study import AGAIN, ORIGINAL, Study, open_study, write_study
from benchmark.tracks.agreement import Agreement, Readings, compare, shown, verdict
from benchmark.tracks.protocol import Measured, Sample
from curation.labelstudio.config import LabelStudioConfig
from curation.labelstudio.push import _first_round
from mema.annotations import MACHINE, Annotation, Progress, write_annotations, write_progress
from mema.build import Build
from mema.errors import UserError
from mema.files import write_json
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord
from mema.release import SPLITS, Release
from mema.result import Interval

DISEASES = ("bcc", "ptosis", "strabismus", "uveitis")
COLOURS = {"bcc": (200, 60, 60), "ptosis": (60, 200, 60), "strabismus": (60, 60, 200), "uveitis": (180, 180, 60)}


def picture(disease: str, random: np.random.Generator) -> np.ndarray:
    """A patch in the disease's colour on noise, which any reader of colours can learn."""
    image = random.normal(120, 25, (64, 64, 3))
    image[16:48, 16:48] += np.array(COLOURS[disease]) - 120
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """A build with a release of coloured patches, 40 of them to validate on, and what two methods made of these."""
    folder = tmp_path_factory.mktemp("agreement")
    random = np.random.default_rng(0)
    release = folder / "runs" / "release"
    for split, count in zip(SPLITS, (48, 4, 40), strict=True):
        faces = [
            Face(FaceRecord(image_id=f"{split}{i}", subject_id=f"{split}{i}", disease=disease, split=split), image)
            for i in range(count)
            for disease in [DISEASES[i % 4]]
            for image in [picture(disease, random)]
        ]
        write_imageset(release / split, count, lambda a, b, faces=faces: faces[a:b], config={"split": split})
    Release.seal(
        release,
        name="patches",
        version="1.0.0",
        clinic="eye_clinic",
        phantom=True,
        machine_annotated=True,
        annotators=("a",),
    )
    config = {
        "name": "test",
        "clinic": "eye_clinic",
        "size": 64,
        "paths": {"private": str(folder / "private"), "runs": str(folder / "runs")},
        "label_studio": {"annotators": ["dr-a", "dr-b", "dr-c"]},
    }
    (folder / "build.yaml").write_text(yaml.safe_dump(config))
    build = Build.load(folder / "build.yaml")
    originals = Release.open(build.release).imageset("validation")
    for name, change in {"dimmed": lambda image: image // 2 + 60, "greyed": lambda image: image * 0 + 90}.items():
        made = [Face(face.record, change(face.image)) for face in originals.faces()]
        place = build.benchmark / name / "images"
        write_imageset(place, len(made), lambda a, b, made=made: made[a:b], config={"method": name})
        write_json(place / "failures-0000000.json", {"validation3": "no answer"} if name == "dimmed" else {})
    return build


@pytest.fixture(scope="module")
def originals(build: Build) -> ImageSet:
    return Release.open(build.release).imageset("validation")


def sample_of(build: Build, name: str, originals: ImageSet) -> Sample:
    images = ImageSet.open(build.benchmark / name / "images")
    return Sample(originals, images, np.array([name == "dimmed" and i == 3 for i in range(originals.count)]))


def planted(random: np.random.Generator, count: int, slips: float, slips_after: float) -> Readings:
    """A reader who says another disease at random in these shares of images: seen again, and de-identified."""
    original = random.integers(0, 4, count)

    def read(share: float) -> list[str | None]:
        other = (original + random.integers(1, 4, count)) % 4
        return [DISEASES[place] for place in np.where(random.permutation(count) < share * count, other, original)]

    return Readings([DISEASES[place] for place in original], read(slips), read(slips_after))


def compared(readings: dict[str, Readings], failed: np.ndarray | None = None) -> Measured:
    count = len(readings["a"].original)
    subjects = [f"p{i}" for i in range(count)]
    return compare(readings, subjects, np.zeros(count, bool) if failed is None else failed, draws=400, seed=0)


@pytest.mark.parametrize(
    ("slips_after", "count", "said"), [(0.1, 800, "non-inferior"), (0.4, 400, "inferior"), (0.15, 60, "undecided")]
)
def test_a_reader_is_as_sure_as_planted(slips_after: float, count: int, said: str) -> None:
    measured = compared({"a": planted(np.random.default_rng(2), count, 0.1, slips_after)})
    kappa, change = measured.stated["kappa.a"], measured.stated["kappa_change.a"]
    # Of four equally frequent diseases chance hits one.
    assert kappa.interval is not None and kappa.interval.low < 1 - slips_after / 0.75 < kappa.interval.high
    assert change.interval is not None
    assert change.interval.low < (0.1 - slips_after) / 0.75 < change.interval.high
    assert verdict(change.interval, 0.1) == said
    assert measured.stated["kappa"] == kappa
    assert measured.scores["agreement"].mean() == pytest.approx(1 - slips_after, abs=0.08)


def test_most_readers_err_less_than_one() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 4, 300)

    def reader() -> Readings:
        sides = [np.where(random.random(300) < 0.25, random.integers(0, 4, 300), truth) for _ in range(3)]
        return Readings(*([DISEASES[place] for place in side] for side in sides))

    measured = compared({name: reader() for name in "abc"})
    alone = [measured.stated[f"kappa.{name}"].value for name in "abc"]
    assert measured.stated["kappa"].value > max(alone)
    assert {f"kappa_disease.{disease}" for disease in DISEASES} <= set(measured.stated)
    np.testing.assert_allclose(
        measured.scores["agreement"], np.mean([measured.scores[f"agreement.{name}"] for name in "abc"], axis=0)
    )


def test_failing_never_pays() -> None:
    readings = {name: planted(np.random.default_rng(seed), 80, 0.1, 0.1) for seed, name in enumerate("ab")}
    failed = np.arange(80) < 20
    whole, lost = compared(readings), compared(readings, failed)
    assert (lost.scores["agreement"][failed] == 0).all()
    assert lost.scores["agreement"][~failed] == pytest.approx(whole.scores["agreement"][~failed])
    for name, stated in lost.stated.items():
        assert stated.value < whole.stated[name].value
    # Nor does it to fail what nobody was asked to read.
    unread = {name: one._replace(deidentified=[None] * 80) for name, one in readings.items()}
    nobody = compared(unread, failed).scores["agreement"]
    assert (nobody[failed] == 0).all() and np.isnan(nobody[~failed]).all()


def test_what_a_reader_was_not_asked_is_left_out() -> None:
    reader = planted(np.random.default_rng(1), 100, 0.1, 0.2)
    half = reader._replace(deidentified=[None] * 50 + list(reader.deidentified[50:]))
    score = compared({"a": half}).scores["agreement.a"]
    assert np.isnan(score[:50]).all() and not np.isnan(score[50:]).any()
    both = compared({"a": half, "b": reader}).scores
    np.testing.assert_array_equal(both["agreement"][:50], both["agreement.b"][:50])


def test_machines_read_what_is_left_and_the_same_twice(build: Build, originals: ImageSet, tmp_path: Path) -> None:
    config = BenchmarkConfig(bootstrap_draws=200, tracks=("agreement",))
    release = Release.open(build.release)
    noise = Agreement(config).prepare(release, tmp_path / "one")
    assert set(noise) == {"agreement", "kappa"} and all(value < 0.1 for value in noise.values())

    def measured(name: str, folder: str = "one") -> Measured:
        return Agreement(config).measure(sample_of(build, name, originals), tmp_path / folder)

    kept, grey = measured("dimmed"), measured("greyed")
    assert set(kept.scores) == {"agreement", *(f"agreement.machine-{number}" for number in (1, 2, 3))}
    assert kept.stated["kappa"].value > 0.6 > 0.1 > grey.stated["kappa"].value
    assert kept.scores["agreement"][3] == 0
    Agreement(config).prepare(release, tmp_path / "two")
    again = measured("dimmed", "two")
    assert again.stated == kept.stated
    np.testing.assert_array_equal(again.scores["agreement"], kept.scores["agreement"])


def test_an_image_looks_the_same_in_any_batch(originals: ImageSet) -> None:
    images = originals.images()
    together, later = shown(images, 2, 0), shown(images[5:9], 2, 5)
    assert np.array_equal(together[5:9], later)
    assert not np.array_equal(shown(images, 3, 0), together)
    assert np.abs(together.astype(int).mean() - images.mean()) < 5


def answered(study: Study, annotators: tuple[str, ...], read: dict[str, list[str]]) -> None:
    """Let everyone say of each arm what ``read`` lists in the order of the originals; None is a rejection."""
    said = []
    for name, (arm, image_id) in study.key.images.items():
        disease = read[arm][int(image_id.removeprefix("validation"))]
        accept = disease != "rejected"
        said += [
            Annotation(image_id=name, annotator=annotator, accept=accept, disease=disease if accept else None)
            for annotator in annotators
        ]
    write_annotations(study.build.answers, said, candidates=study.key.candidates)


def test_physicians_read_blindly_and_are_compared(build: Build, originals: ImageSet, tmp_path: Path) -> None:
    study = write_study(build, ["dimmed", "greyed"], tmp_path / "study")
    kept = ImageSet.open(study.build.filtered / "kept")
    # One image of one method was not delivered.
    assert kept.count == 4 * originals.count - 1
    pixels = b"".join(file.read_bytes() for file in kept.path.iterdir())
    for word in (b"dimmed", b"greyed", b"validation", b"ptosis", ORIGINAL.encode()):
        assert word not in pixels
    # What `mema annotate push` makes of it.
    plan = _first_round(study.build, study.build.section("label_studio", LabelStudioConfig), kept)
    assert plan.candidates == study.key.candidates and set(plan.images) == set(study.key.images)
    assert plan.annotators == ("dr-a", "dr-b", "dr-c")

    config = BenchmarkConfig(bootstrap_draws=200, agreement=AgreementConfig(study=tmp_path / "study"))
    track = Agreement(config)
    assert track.prepare(Release.open(build.release), tmp_path / "judge") == {}
    with pytest.raises(UserError, match="annotate pull"):
        track.measure(sample_of(build, "dimmed", originals), tmp_path / "judge")
    truth = [DISEASES[i % 4] for i in range(40)]
    wrong = [*truth[:-8], *["rejected"] * 8]
    answered(study, ("dr-a", "dr-b"), {ORIGINAL: truth, AGAIN: truth, "dimmed": wrong, "greyed": ["rejected"] * 40})
    dimmed = track.measure(sample_of(build, "dimmed", originals), tmp_path / "judge")
    assert dimmed.scores["agreement"].tolist() == [float(i < 32 and i != 3) for i in range(40)]
    assert set(dimmed.scores) == {"agreement", "agreement.dr-a", "agreement.dr-b"}
    assert dimmed.stated["kappa_change"].value == dimmed.stated["kappa"].value - 1
    greyed = track.measure(sample_of(build, "greyed", originals), tmp_path / "judge")
    assert greyed.stated["kappa"].value == pytest.approx(0)

    write_progress(study.build.answers, [Progress(round=0, annotator="dr-b", answered=7, asked=159)])
    with pytest.raises(UserError, match="dr-b has answered 7 of 159"):
        track.measure(sample_of(build, "greyed", originals), tmp_path / "judge")


def test_models_that_answer_a_study_are_called_machines(build: Build, originals: ImageSet, tmp_path: Path) -> None:
    study = write_study(build, ["greyed"], tmp_path / "study")
    truth = [DISEASES[i % 4] for i in range(40)]
    answered(study, (f"{MACHINE}a/b@0",), dict.fromkeys((ORIGINAL, AGAIN, "greyed"), truth))
    track = Agreement(BenchmarkConfig(bootstrap_draws=100, agreement=AgreementConfig(study=tmp_path / "study")))
    scores = track.measure(sample_of(build, "greyed", originals), tmp_path).scores
    assert set(scores) == {"agreement", "agreement.machine-1"}


def test_a_study_is_of_its_own_images(build: Build, originals: ImageSet, tmp_path: Path) -> None:
    study = write_study(build, ["greyed"], tmp_path / "study")
    before = (study.build.filtered / "kept" / "_complete.json").read_bytes()
    write_study(build, ["greyed"], tmp_path / "study")
    assert (study.build.filtered / "kept" / "_complete.json").read_bytes() == before
    with pytest.raises(UserError, match="another study"):
        write_study(build, ["dimmed"], tmp_path / "study")
    with pytest.raises(UserError, match="does not exist"):
        write_study(build, ["pixelate"], tmp_path / "other")
    with pytest.raises(UserError, match="no study"):
        open_study(tmp_path / "other")
    track = Agreement(BenchmarkConfig(agreement=AgreementConfig(study=tmp_path / "study")))
    with pytest.raises(UserError, match="nobody was asked to read"):
        track.measure(sample_of(build, "dimmed", originals), tmp_path)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(-0.09, 0.1, "non-inferior"), (-0.3, -0.11, "inferior"), (-0.3, 0.1, "undecided"), (-0.1, 0.0, "undecided")],
)
def test_the_verdict_follows_from_the_interval(low: float, high: float, said: str) -> None:
    assert verdict(Interval(low=low, high=high), 0.1) == said
