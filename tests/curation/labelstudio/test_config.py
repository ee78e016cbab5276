from xml.etree import ElementTree

import pytest

from curation.labelstudio.config import REASONS, LabelStudioConfig, labelling_xml
from mema.config import validate
from mema.errors import UserError
from mema.taxonomy import load_taxonomy, taxonomies


def page(clinic, **options):
    return ElementTree.fromstring(labelling_xml(load_taxonomy(clinic), **options))


def options_of(root, name):
    choices = next(tag for tag in root.iter("Choices") if tag.get("name") == name)
    return [choice.get("alias") or choice.get("value") for choice in choices]


@pytest.mark.parametrize("clinic", taxonomies())
def test_the_page_offers_the_taxonomy_and_nothing_else(clinic):
    taxonomy = load_taxonomy(clinic)
    root = page(clinic)
    assert options_of(root, "disease") == list(taxonomy.codes)
    assert options_of(root, "severity") == list(taxonomy.levels)
    assert options_of(root, "decision") == ["accept", "reject"]
    assert options_of(root, "reason") == list(REASONS)
    assert root.find(".//Image").get("value") == "$image"
    assert root.find(".//TextArea") is not None


@pytest.mark.parametrize("clinic", taxonomies())
def test_there_is_a_brush_where_a_disease_has_a_lesion_mask(clinic):
    has_masks = any(disease.lesion_mask for disease in load_taxonomy(clinic).diseases)
    assert (page(clinic).find(".//BrushLabels") is not None) == has_masks


@pytest.mark.parametrize("clinic", taxonomies())
def test_no_key_is_used_twice(clinic):
    root = page(clinic, smart=True)
    keys = [tag.get("hotkey") for tag in root.iter() if tag.get("hotkey")]
    assert len(keys) == len(set(keys))
    assert all(len(key) == 1 for key in keys)
    for name in ("decision", "disease", "severity", "reason"):
        choices = next(tag for tag in root.iter("Choices") if tag.get("name") == name)
        assert all(choice.get("hotkey") for choice in choices), name


def test_what_depends_on_the_decision_is_shown_with_it():
    root = page("eye_clinic")
    shown = {tag.get("whenChoiceValue"): [c.get("name") for c in tag.iter("Choices")] for tag in root.iter("View")}
    assert shown["accept"] == ["disease", "severity"]
    assert shown["reject"] == ["reason"]


def test_the_smart_tools_come_when_asked_for():
    assert page("eye_clinic").find(".//KeyPointLabels") is None
    for tag in ("KeyPointLabels", "RectangleLabels"):
        tool = page("eye_clinic", smart=True).find(f".//{tag}")
        assert tool.get("smart") == tool.get("smartOnly") == "true"
    # Each button beside the picture says something else, and a smart one chooses its own tool, not the brush.
    names = [label.get("value") for label in page("eye_clinic", smart=True).iter("Label")]
    assert len(set(names)) == len(names) == 3
    assert page("eye_clinic", smart=True).find(".//BrushLabels").get("smart") == "false"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"annotators": ["a", "a"]}, "a name occurs twice"),
        ({"annotators": ["Dr Jekyll"]}, "annotators.0"),
        ({"annotators": ["a", "b"], "per_image": 3}, "per_image is 3, but there are 2 annotators"),
        ({"annotator": ["a"]}, "did you mean 'annotators'"),
    ],
)
def test_wrong_settings_are_named(values, message):
    with pytest.raises(UserError, match=message):
        validate(LabelStudioConfig, values, "build.yaml: label_studio")
