"""The small modules of the ground floor: statistics, registry, configuration, build, results, weights."""

import errno
from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from mema import cli, weights
from mema.build import Build
from mema.config import Config, validate
from mema.engine import map_batches
from mema.errors import UserError
from mema.files import atomic_write, write_json
from mema.records import FaceRecord
from mema.registry import Registry
from mema.result import Method, Metric, Protocol, ReleaseReference, Result
from mema.statistics import cluster_draws, clustered_bootstrap, total_variation, wasserstein_age, wilson


def test_wilson_agrees_with_scipy():
    for successes, trials in [(0, 20), (3, 20), (20, 20), (71, 300)]:
        expected = stats.binomtest(successes, trials).proportion_ci(method="wilson")
        assert wilson(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_age_distance_agrees_with_scipy():
    random = np.random.default_rng(0)
    a, b = random.uniform(5, 90, 57), random.uniform(20, 60, 31)
    assert wasserstein_age(a, b) == pytest.approx(stats.wasserstein_distance(a, b) / 85)


def test_total_variation():
    assert total_variation(Counter("aab"), Counter("aabaab")) == 0
    assert total_variation(Counter("aa"), Counter("b")) == 1


def test_clustered_bootstrap_is_wider_than_an_independent_one():
    random = np.random.default_rng(0)
    values = np.repeat(random.normal(size=40), 10)
    clustered = clustered_bootstrap(values, list(np.repeat(np.arange(40), 10)))
    independent = clustered_bootstrap(values, list(range(400)))
    assert clustered[1] - clustered[0] > 2 * (independent[1] - independent[0])


def test_cluster_draws_take_whole_clusters():
    weights = cluster_draws(["a", "b", "a", "c"], draws=50, seed=3)
    assert weights.shape == (50, 4)
    assert np.array_equal(weights[:, 0], weights[:, 2])
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()


def test_registry_suggests_the_nearest_name_and_resolves_lazily():
    registry = Registry("thing", {"sqrt": "math:sqrt", "broken": "no.such:thing"}, "openmema.tests")
    assert registry.names() == ["broken", "sqrt"]
    assert registry.load("sqrt")(9) == 3
    with pytest.raises(UserError, match="unknown thing 'sqr'; did you mean 'sqrt'"):
        registry.load("sqr")


def test_map_batches_does_not_depend_on_workers():
    items = list(range(11))
    # A built-in, since processes find no module of the tests once a package of that name is installed.
    one = list(map_batches(sum, items, batch_size=3))
    assert one == [3, 12, 21, 19] == list(map_batches(sum, items, batch_size=3, workers=2))


class Inner(Config):
    rank: int = 4


class Outer(Config):
    inner: Inner = Inner()
    steps: int


def test_unknown_keys_name_the_nearest():
    with pytest.raises(UserError, match=r"a.yaml: unknown key 'inner.rnk'; did you mean 'rank'"):
        validate(Outer, {"steps": 1, "inner": {"rnk": 2}}, "a.yaml")
    with pytest.raises(UserError, match=r"a.yaml: unknown key 'step'; did you mean 'steps'"):
        validate(Outer, {"step": 1}, "a.yaml")
    with pytest.raises(UserError, match=r"a.yaml: steps: .*integer"):
        validate(Outer, {"steps": "many"}, "a.yaml")


BUILD = "name: x\nclinic: eye_clinic\npaths: {private: p, runs: r}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BUILD + "sampel: {}\n", "unknown key 'sampel'; did you mean 'sample'"),
        (BUILD + "size: 130\n", "size"),
        (BUILD.replace("runs: r", "run: r"), "unknown key 'paths.run'; did you mean 'runs'"),
        ("name: [\n", "line 2"),
        ("- a\n", "expected a mapping"),
    ],
)
def test_bad_builds(tmp_path, text, message):
    (tmp_path / "b.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        Build.load(tmp_path / "b.yaml")


def test_private_places_move_with_the_environment(tmp_path, monkeypatch):
    (tmp_path / "b.yaml").write_text(BUILD)
    monkeypatch.setenv("MEMA_PRIVATE", str(tmp_path / "vault"))
    build = Build.load(tmp_path / "b.yaml")
    for place in (build.hospital, build.cohort, build.controls, build.private_audit):
        assert place.is_relative_to(tmp_path / "vault")
    for place in (build.donors, build.plan, build.candidates, build.audit, build.release, build.leaderboard):
        assert not place.is_relative_to(tmp_path / "vault")


def test_records_refuse_unknown_fields_and_unsafe_ids():
    assert FaceRecord(image_id="a", subject_id="b").disease is None
    with pytest.raises(ValidationError):
        FaceRecord(image_id="a", subject_id="b", hospital_number="1")
    with pytest.raises(ValidationError):
        FaceRecord(image_id="../a", subject_id="b")


def result(**changes):
    fields = {
        "method": Method(name="m", revision="1", reversible=False, prior="none"),
        "release": ReleaseReference(name="r", version="1.0.0", digest="d"),
        "protocol": Protocol(name="p", version="1"),
        "metrics": [Metric(name="top1", version="1", value=0.5, higher_is_better=True)],
        "seeds": [0],
        "git_hash": None,
        "hardware": "",
        "counts": {"images": 2},
        "failures": [],
        "image_ids": ["a", "b"],
        "subject_ids": ["a", "b"],
        "scores": {"top1": [1.0, None]},
    }
    return Result(**{**fields, **changes})


def test_results_round_trip_and_name_what_is_wrong(tmp_path):
    result().save(tmp_path / "r.json")
    assert Result.load(tmp_path / "r.json") == result()
    assert result().metric("top1").value == 0.5
    with pytest.raises(UserError, match="no metric 'fid'"):
        result().metric("fid")
    write_json(tmp_path / "bad.json", {**result().model_dump(), "rank": 1})
    with pytest.raises(UserError, match=r"bad.json: rank"):
        Result.load(tmp_path / "bad.json")
    with pytest.raises(ValidationError, match="1 entries for 2 images"):
        result(scores={"top1": [1.0]})


def test_missing_weights_say_where_and_under_which_licence(tmp_path, monkeypatch):
    monkeypatch.setenv("MEMA_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match=r"sd-v1-5.*OpenRAIL"):
        weights.locate("sd-v1-5")
    with pytest.raises(UserError, match="did you mean 'phantom-sd'"):
        weights.locate("phantom-ds")


def test_shipped_weights_are_what_the_table_says():
    for name, row in weights.table().items():
        if row.sha256:
            assert weights.state(name) == "ok", name


def test_atomic_write_leaves_no_part_behind(tmp_path, monkeypatch):
    atomic_write(tmp_path / "a", "old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError):
        atomic_write(tmp_path / "a", "new")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_full_disk_is_one_line_and_exit_2(monkeypatch, capsys):
    def full(**_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cli, "cli", full)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "mema: the disk is full: free some space and run the same command again\n"
