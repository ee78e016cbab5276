"""What a build says of its annotators, and the page they see: the labelling configuration, made from the taxonomy."""

from __future__ import annotations

from typing import Annotated
from xml.etree import ElementTree

from pydantic import Field, model_validator

from mema.config import Config
from mema.taxonomy import Taxonomy

# Names of the controls, as they stand in every answer.
IMAGE = "image"
DECISION = "decision"
DISEASE = "disease"
SEVERITY = "severity"
REASON = "reason"
NOTES = "notes"
MASK = "tumor_mask"
TUMOR = "tumor"
ACCEPT = "accept"
REJECT = "reject"

REASONS = {
    "no-face": ("No face, or one that no person could have", "f"),
    "artefact": ("Smeared, doubled or cut where the disease would be", "g"),
    "unreadable": ("A face, but no diagnosis can be made from it", "j"),
    "other-disease": ("A disease that is not in the list", "n"),
    "other": ("Something else: say it in the notes", "y"),
}
# Beside each other on the keyboard, and none of them a tool of the editor.
SEVERITY_KEYS = "iop"
DISEASE_KEYS = "123456789"

# Numbered by hand: the page shows a list without its numbers.
INSTRUCTIONS = """<p>Each picture was made by a computer; no patient is in it. Judge what you <b>see</b>.</p>
<p><b>1. Accept or reject.</b> Accept a picture from which you could make a diagnosis. Otherwise reject it and say
why.</p>
<p><b>2. Disease</b> and <b>severity</b>, when you accept. Leave the severity open if you cannot tell it.</p>
<p><b>3. Tumour.</b> If you see a tumour, choose <i>tumor</i> above the picture (key T) and paint it. If one is painted
already, correct it with brush and eraser.</p>
<p><b>4. Submit</b> (Ctrl+Enter). The next picture comes by itself; some come twice. The list of projects says how many
you have answered.</p>
<p>Keys: A accept, X reject, digits for the disease, I, O, P for slight, mid, heavy, T tumor. Notes are free; write no
name into them.</p>"""
SMART_TOOLS = {"KeyPointLabels": "click", "RectangleLabels": "box"}
SMART = """<p>An outline can be proposed to you. Turn on <i>Auto-Annotation</i> below the picture, then <i>Auto-Accept
Suggestions</i> beside it. Choose <i>click</i> above the picture, press M, and click on the tumour; or choose
<i>box</i>, rest the pointer on the lowest tool beside the picture, choose the box there and draw it around the tumour.
Correct what appears with brush and eraser.</p>"""

AnnotatorName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]


class LabelStudioConfig(Config):
    """Who annotates, and how many of them see each image.

    ``annotators`` are pseudonyms: they stand in the release. Each image goes to ``per_image`` of them (None: to all),
    a share ``repeated`` of everyone's images is shown to them twice, in an order that ``seed`` shuffles.
    ``adjudicators`` settle disputes; without any, the annotators look again. ``email_domain`` completes the names to
    logins. ``smart`` adds the tools that ask a model behind the server for an outline: ``segmenter``, which
    ``curation.segmenting.segmenter`` finds by name or path.
    """

    annotators: tuple[AnnotatorName, ...] = Field(
        default=("annotator-1", "annotator-2", "annotator-3"), min_length=1, max_length=12
    )
    adjudicators: tuple[AnnotatorName, ...] = Field(default=(), max_length=12)
    per_image: int | None = Field(default=None, ge=1)
    repeated: float = Field(default=0.05, ge=0, le=0.5)
    seed: int = Field(default=0, ge=0)
    email_domain: str = Field(default="example.org", pattern=r"^[a-z0-9.-]{1,100}$")
    smart: bool = False
    segmenter: str = Field(default="phantom-segmenter", min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> LabelStudioConfig:
        for names in (self.annotators, self.adjudicators):
            if len(set(names)) != len(names):
                raise ValueError("a name occurs twice")
        if self.per_image is not None and self.per_image > len(self.annotators):
            raise ValueError(f"per_image is {self.per_image}, but there are {len(self.annotators)} annotators")
        return self

    def email(self, name: str) -> str:
        """Return the login of the annotator called ``name``."""
        return f"{name}@{self.email_domain}"


def labelling_xml(taxonomy: Taxonomy, *, smart: bool = False) -> str:
    """Return Label Studio's labelling configuration: the image on the left, the questions on the right.

    Answers carry the taxonomy's codes, the page its names. The tumour brush is there when a disease of the clinic has
    a lesion mask; ``smart`` adds the point and box that an ML backend answers.
    """
    view = _element(None, "View", style="display: flex; gap: 1em")
    left = _element(view, "View", style="flex: 65%")
    right = _element(view, "View", style="flex: 35%")
    if any(disease.lesion_mask for disease in taxonomy.diseases):
        labels = _element(left, "View", style="display: flex; gap: 1em")
        brush = _element(labels, "BrushLabels", name=MASK, toName=IMAGE, smart="false")
        _element(brush, "Label", value=TUMOR, background="#d4380d", hotkey="t")
        for tag, how in SMART_TOOLS.items() if smart else ():
            tool = _element(labels, tag, name=f"smart_{tag[:-6].lower()}", toName=IMAGE, smart="true", smartOnly="true")
            _element(tool, "Label", value=how, background="#1677ff")

    # Below the brush: on a small screen what stands under the picture is out of sight.
    _element(left, "Image", name=IMAGE, value="$image", zoom="true", zoomControl="true", brightnessControl="true",
             contrastControl="true")  # fmt: skip
    _element(right, "Header", value="Could you make a diagnosis from this picture?")
    _choices(right, DECISION, {ACCEPT: (ACCEPT, "a"), REJECT: (REJECT, "x")}, required=True, inline=True)
    accepted = _shown_when(right, ACCEPT)
    _element(accepted, "Header", value="Disease")
    keys = DISEASE_KEYS.ljust(len(taxonomy.codes))
    diseases = {one.code: (one.name, key) for one, key in zip(taxonomy.diseases, keys, strict=False)}
    _choices(accepted, DISEASE, diseases, required=True, hints={one.code: one.description for one in taxonomy.diseases})
    _element(accepted, "Header", value="Severity, if you can tell")
    levels = {level: (level, key) for level, key in zip(taxonomy.levels, SEVERITY_KEYS, strict=True)}
    _choices(accepted, SEVERITY, levels, inline=True)
    rejected = _shown_when(right, REJECT)
    _element(rejected, "Header", value="Why not?")
    _choices(rejected, REASON, REASONS, required=True)
    _element(right, "TextArea", name=NOTES, toName=IMAGE, rows="3", maxSubmissions="1", editable="true",
             showSubmitButton="false", placeholder="Notes, if any. No names.")  # fmt: skip
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode")


def _choices(
    parent: ElementTree.Element,
    name: str,
    options: dict[str, tuple[str, str]],
    *,
    required: bool = False,
    inline: bool = False,
    hints: dict[str, str] | None = None,
) -> None:
    tag = _element(parent, "Choices", name=name, toName=IMAGE, choice="single-radio", showInline=str(inline).lower())
    if required:
        tag.set("required", "true")
        tag.set("requiredMessage", f"Please choose: {name}.")
    for code, (text, key) in options.items():
        choice = _element(tag, "Choice", value=text)
        if text != code:
            choice.set("alias", code)
        if key.strip():
            choice.set("hotkey", key)
        if hints:
            choice.set("hint", hints[code])


def _shown_when(parent: ElementTree.Element, decision: str) -> ElementTree.Element:
    return _element(parent, "View", visibleWhen="choice-selected", whenTagName=DECISION, whenChoiceValue=decision)


def _element(parent: ElementTree.Element | None, tag: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.Element(tag, attributes) if parent is None else ElementTree.SubElement(parent, tag, attributes)
