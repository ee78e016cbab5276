import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from label_studio_world import make_build
from PIL import Image
from sam_weights import write_transformers

from curation.filter import KEPT
from curation.labelstudio.cli import annotate
from curation.labelstudio.push import _prediction
from curation.labelstudio.rle import decode
from curation.labelstudio.rounds import Round
from curation.segmenting.proposals import propose, read_clicks, search
from curation.segmenting.segmenter import Prompt, load_segmenter
from mema.errors import UserError
from mema.imageset import ImageSet

CLICKS = "image_id,x,y,inside\nvirtual-0000,20,10,\nvirtual-0000,50,30,0\nvirtual-0002,5.5,31,1\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proposals")
    weights = write_transformers("sam", folder / "sam")
    build = make_build(folder, "small", 3, annotators=["annotator-1"], repeated=0.0, segmenter=str(weights))
    (folder / "clicks.csv").write_text(CLICKS)
    return build, load_segmenter(str(weights)), folder / "clicks.csv"


def test_clicks_become_masks_that_push_sends(world, tmp_path):
    build, segmenter, clicks = world
    images = ImageSet.open(build.filtered / KEPT)
    assert propose(images, tmp_path, segmenter, clicks=clicks) == 2
    plan = Round(
        number=0, candidates="c", images=(), height=40, width=56, annotators=("a",), per_image=1, repeated=0, seed=0
    )
    prompts = read_clicks(clicks)
    assert prompts["virtual-0000"] == Prompt(((20.0, 10.0), (50.0, 30.0)), (True, False))
    for face in images.faces():
        sent = _prediction(tmp_path, face.record.image_id, plan)
        if face.record.image_id == "virtual-0001":
            assert sent == []
            continue
        (found,) = segmenter.segment(segmenter.embed(face.image), [prompts[face.record.image_id]])
        assert np.array_equal(decode(sent[0]["result"][0]["value"]["rle"], 40, 56), found.mask)


def test_a_rerun_goes_on_and_another_way_is_refused(world, tmp_path):
    build, segmenter, clicks = world
    images = ImageSet.open(build.filtered / KEPT)
    propose(images, tmp_path, segmenter, clicks=clicks)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.glob("*.png")}
    (tmp_path / "virtual-0002.png").unlink()
    propose(images, tmp_path, segmenter, clicks=clicks)
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.glob("*.png")}
    assert [name for name in before if before[name] != after[name]] == ["virtual-0002.png"]
    assert before["virtual-0002.png"][0] == after["virtual-0002.png"][0]
    with pytest.raises(UserError, match="made with other weights or clicks"):
        propose(images, tmp_path, segmenter)


def test_without_clicks_the_surest_outline_counts_if_it_is_sure_enough(world, tmp_path):
    build, segmenter, _ = world
    images = ImageSet.open(build.filtered / KEPT)
    face = next(images.faces())
    best = search(segmenter, face.image)
    corner = segmenter.segment(segmenter.embed(face.image), [Prompt(((1.25, 0.75),), (True,))])[0]
    assert best.score >= corner.score
    assert propose(images, tmp_path / "none", segmenter, least_score=np.inf) == 0
    propose(images, tmp_path / "all", segmenter, least_score=-np.inf)
    with Image.open(tmp_path / "all" / f"{face.record.image_id}.png") as image:
        assert np.array_equal(np.asarray(image) > 0, best.mask)


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("image_id,x\n", "the columns image_id, x, y are needed"),
        ("image_id,x,y\nvirtual-0000,1,\n", ":2: x and y are pixels"),
        ("image_id,x,y\nvirtual-0000,1,1\nvirtual-0000,1\n", ":3: x and y are pixels"),
        ("image_id,x,y,inside\nvirtual-0000,1,1,yes\n", ":2: x and y are pixels"),
        ("image_id,x,y\nvirtual-0000,56,1\n", "a click on virtual-0000 lies outside"),
        ("image_id,x,y\nvirtual-0000,nan,1\n", "a click on virtual-0000 lies outside"),
    ],
)
def test_a_wrong_table_is_one_line(world, tmp_path, table, line):
    build, segmenter, _ = world
    (tmp_path / "clicks.csv").write_text(table)
    with pytest.raises(UserError, match=line):
        propose(ImageSet.open(build.filtered / KEPT), tmp_path / "out", segmenter, clicks=tmp_path / "clicks.csv")


def test_the_command_writes_where_push_is_told_to_look(world):
    build, _, clicks = world
    done = CliRunner().invoke(annotate, ["preannotate", "--config", str(build.config_path), "--clicks", str(clicks)])
    assert done.exit_code == 0, done.output
    assert f"2 of 3 images have an outline; `mema annotate push --masks {build.proposals}` shows them" in done.output
    assert len(list(build.proposals.glob("*.png"))) == 3


def test_a_build_names_its_segmenter(world, tmp_path):
    build, _, _ = world
    values = yaml.safe_load(build.config_path.read_text())
    values["label_studio"]["segmenter"] = "sam/vit-h"
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(values))
    done = CliRunner().invoke(annotate, ["preannotate", "--config", str(tmp_path / "build.yaml")])
    assert isinstance(done.exception, UserError)
    assert "sam_vit_h_4b8939.pth" in str(done.exception)
