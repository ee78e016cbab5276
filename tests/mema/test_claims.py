"""Verdicts follow from intervals alone."""

from mema.claims import Claim, claim_lines
from mema.statistics import Estimate


def test_a_verdict_is_where_the_interval_lies():
    effects = [Estimate(2, 1, 3), Estimate(1, -1, 3), Estimate(-2, -3, -1), None, Estimate(0, 0, 0)]
    said = [Claim("it is so", effect).verdict for effect in effects]
    assert said == ["yes", "not shown here", "opposite", "not measured", "not shown here"]


def test_lines_show_the_effect_in_the_papers_unit():
    claims = [Claim("ahead", Estimate(0.1234, 0.02, 0.25), "by blur", 100, 1), Claim("seen", None)]
    assert claim_lines(claims) == [
        "yes             ahead: by blur, +12.3 [+2.0, +25.0]",
        "not measured    seen",
    ]
    assert claims[0].as_json()["effect"] == {"value": 0.1234, "low": 0.02, "high": 0.25}
