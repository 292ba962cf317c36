"""Topic templates against the specification's examples and against paho's own matching."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from routemq.errors import TopicTemplateError
from routemq.topics import TopicTemplate, filters_overlap, share_filter

# Few different levels, so that templates and topics meet; among them what Python, MQTT or a terminal treat specially.
LITERALS = ["a", "b", "", "$SYS", "sen sors", "ü🌡️", "d-1.x", "'\"\n", "(.*)", "a\\"]
literal_levels = st.sampled_from(LITERALS)
any_levels = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/+#{}\0"), max_size=8)
topics = st.lists(literal_levels | any_levels, min_size=1, max_size=5).map("/".join).filter(bool)


@st.composite
def templates(draw: st.DrawFn) -> TopicTemplate:
    levels = draw(st.lists(literal_levels | st.sampled_from(["+", "{}"]), min_size=1, max_size=4))
    levels += draw(st.sampled_from([[], [], ["#"], ["{rest:path}"]]))
    text = "/".join(f"{{p{index}}}" if level == "{}" else level for index, level in enumerate(levels))
    return TopicTemplate(text or "a")


@pytest.mark.parametrize(
    ("template", "topic_filter", "topic", "parameters"),
    [
        ("sensors/{device_id}/data", "sensors/+/data", "sensors/d1/data", {"device_id": "d1"}),
        ("telemetry/bulk", "telemetry/bulk", "telemetry/bulk", {}),
        ("p/{plant}/l/{line:int}", "p/+/l/+", "p/north/l/7", {"plant": "north", "line": "7"}),
        ("p/{plant}/l/{line:int}", "p/+/l/+", "p/north/l/x", {"plant": "north", "line": "x"}),
        ("logs/{rest:path}", "logs/#", "logs/a/b//c", {"rest": "a/b//c"}),
        ("logs/{rest:path}", "logs/#", "logs", {"rest": ""}),
        ("logs/{rest:path}", "logs/#", "logs/", {"rest": ""}),
        ("{everything:path}", "#", "a/b", {"everything": "a/b"}),
        ("a/+/b/#", "a/+/b/#", "a/x/b/c/d", {}),
        ("a/{x}", "a/+", "a/", {"x": ""}),
        ("/{x}/", "/+/", "/d/", {"x": "d"}),
        ("{größe}/🌡️", "+/🌡️", "ü b/🌡️", {"größe": "ü b"}),
        ("$SYS/{rest:path}", "$SYS/#", "$SYS/broker/load", {"rest": "broker/load"}),
        ("a/{x}", "a/+", "a/line\nbreak", {"x": "line\nbreak"}),
    ],
)
def test_template_gives_its_filter_and_its_parameters(
    template: str, topic_filter: str, topic: str, parameters: dict[str, str]
) -> None:
    made = TopicTemplate(template)
    assert made.filter == topic_filter
    assert made.match(topic) == parameters


@pytest.mark.parametrize(
    ("template", "topic"),
    [
        ("sensors/{device_id}/data", "sensors/d1/x/data"),
        ("sensors/{device_id}/data", "sensors/d1"),
        ("logs/{rest:path}", "logsx"),
        ("a.b", "axb"),
        ("a", "a\n"),
        ("A", "a"),
        ("#", "$SYS/broker"),
        ("{x}/broker", "$SYS/broker"),
        ("+", "$SYS"),
        ("{rest:path}", "$SYS"),
    ],
)
def test_template_does_not_match_another_topic(template: str, topic: str) -> None:
    assert TopicTemplate(template).match(topic) is None


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("", "at least one character"),
        ("a/{x}/{x}", "'x' appears twice"),
        ("a/{x:path}/b", "must be the last level"),
        ("a/#/b", "must be the last level"),
        ("a/b+", "a wildcard takes a whole level, not 'b+'"),
        ("a/x#", "a wildcard takes a whole level, not 'x#'"),
        ("a/b{x}", "a parameter takes a whole level, not 'b{x}'"),
        ("a/{x", "a parameter takes a whole level"),
        ("a/}", "a parameter takes a whole level"),
        ("a/{x/y}", "a parameter takes a whole level"),
        ("a/{}", "'' is not a Python identifier"),
        ("a/{1x}", "'1x' is not a Python identifier"),
        ("a/{device-id}", "'device-id' is not a Python identifier"),
        ("a/{x:uuid}", "unknown converter 'uuid'; there are str, int, float, path"),
        ("a/{x:}", "unknown converter ''"),
        ("a/{payload}", "cannot be called 'payload'"),
        ("a\0b", "null character"),
        ("a/\udc80", "not valid UTF-8"),
        ("ü" * 32_768, "longer than 65535 bytes"),
        ("$share/g/a", "set shared=True"),
    ],
)
def test_impossible_template_says_why(template: str, problem: str) -> None:
    with pytest.raises(TopicTemplateError, match=re.escape(problem)) as caught:
        TopicTemplate(template)
    assert caught.value.template == template


def test_a_thousand_levels() -> None:
    names = [f"p{number}" for number in range(1000)]
    template = TopicTemplate("/".join(f"{{{name}}}" for name in names))
    assert template.match("/".join(names)) == {name: name for name in names}
    assert template.match("/".join(names[1:])) is None


@given(templates(), topics)
def test_template_matches_what_its_filter_matches(template: TopicTemplate, topic: str) -> None:
    assert (template.match(topic) is not None) == topic_matches_sub(template.filter, topic)


@given(templates(), st.data())
def test_topic_made_of_parameters_gives_them_back(template: TopicTemplate, data: st.DataObject) -> None:
    wanted = {
        name: data.draw(topics if converter == "path" else any_levels, label=name)
        for name, converter in template.parameters.items()
    }
    levels = [
        re.sub(r"^\{(\w+)(:path)?\}$", lambda found: wanted[found[1]], level) for level in template.text.split("/")
    ]
    topic = "/".join("x" if level in ("+", "#") else level for level in levels)
    if topic_matches_sub(template.filter, topic):
        assert template.match(topic) == wanted
    else:
        assert topic.startswith("$")


@given(templates(), templates(), topics)
def test_filters_with_a_common_topic_overlap(left: TopicTemplate, right: TopicTemplate, topic: str) -> None:
    if left.match(topic) is not None and right.match(topic) is not None:
        assert left.overlaps(right)
        assert right.overlaps(left)


@given(templates(), templates())
def test_filters_that_overlap_have_a_common_topic(left: TopicTemplate, right: TopicTemplate) -> None:
    assert left.overlaps(right) == right.overlaps(left)
    if left.overlaps(right):
        topic = common_topic(left.filter.split("/"), right.filter.split("/"))
        assert left.match(topic) is not None
        assert right.match(topic) is not None


def common_topic(left: list[str], right: list[str]) -> str:
    """A topic of both: each level that one of them prescribes, `x` where both leave it open."""
    levels = []
    for index in range(max(len(left), len(right))):
        pair = [side[index] if index < len(side) else (side[-1] if side[-1] == "#" else None) for side in (left, right)]
        if None in pair:  # `a/#` stands for `a` too
            break
        levels.append(next((level for level in pair if level not in ("+", "#", None)), "x"))
    return "/".join(str(level) for level in levels)


@pytest.mark.parametrize(
    ("left", "right", "overlap"),
    [
        ("a/#", "a", True),
        ("a/b/#", "a/+", True),
        ("a/+/c", "a/b/+", True),
        ("#", "+/+", True),
        ("a/+", "a", False),
        ("a/+/c", "a/b/d", False),
        ("#", "$SYS/#", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/+/x", True),
    ],
)
def test_overlap_of_filters(left: str, right: str, overlap: bool) -> None:
    assert filters_overlap(left, right) is overlap
    assert filters_overlap(right, left) is overlap


def test_share_filter_names_the_group() -> None:
    assert share_filter("workers", "sensors/+/data") == "$share/workers/sensors/+/data"
    for group in ("", "a/b", "a+", "#"):
        with pytest.raises(TopicTemplateError, match="a share name"):
            share_filter(group, "a")
