"""Topics: what we build we can read, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.identity import GatewayId
from wire.topics import Subject, Topic, TopicError, every_gateway

GATEWAYS = st.from_regex(r"[a-z0-9][a-z0-9-]{1,39}", fullmatch=True).map(GatewayId)


@given(GATEWAYS, st.sampled_from(Subject))
def test_a_topic_reads_back_as_it_was_built(gateway: GatewayId, subject: Subject) -> None:
    assert Topic.parse(str(Topic(gateway, subject))) == Topic(gateway, subject)


@given(GATEWAYS, st.sampled_from(Subject))
def test_no_topic_has_a_dot_or_a_wildcard(gateway: GatewayId, subject: Subject) -> None:
    assert not set(str(Topic(gateway, subject))) & set(".+#\x00")


def test_the_filter_for_every_gateway_differs_from_a_topic_in_one_level_only() -> None:
    assert every_gateway(Subject.BATCH) == "xom/v1/gw/+/up/batch"
    assert str(Topic(GatewayId("thon-1"), Subject.BATCH)) == "xom/v1/gw/thon-1/up/batch"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "//////",
        "xom/v1/gw",
        "xom/v1/gw/thon-1",
        "xom/v1/gw/thon-1/up",
        "xom/v1/gw/thon-1/up/batch/",
        "xom/v1/gw/thon-1/up/batch/more",
        "/xom/v1/gw/thon-1/up/batch",
        "xom/v2/gw/thon-1/up/batch",
        "xom/v1/gw//up/batch",
        "xom/v1/gw/+/up/batch",
        "xom/v1/gw/#/up/batch",
        "xom/v1/gw/Thon-1/up/batch",
        "xom/v1/gw/thôn/up/batch",
        "xom/v1/gw/thon-1/down/batch",
        "xom/v1/gw/thon-1/up/ack",
        "xom/v1/gw/thon-1/UP/BATCH",
        "xom/v1/gw/thon-1\n/up/batch",
        "$SYS/broker/uptime",
    ],
)
def test_a_topic_that_is_not_ours_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(TopicError) as caught:
        Topic.parse(text)
    assert repr(text)[:60] in str(caught.value)


@given(st.text(alphabet="xomv1gwup/batch+#\x00-dnk."))
def test_hostile_topics_are_topics_of_ours_or_a_topic_error(text: str) -> None:
    try:
        topic = Topic.parse(text)
    except TopicError:
        return
    assert str(topic) == text


def test_a_very_long_topic_is_quoted_in_part_only() -> None:
    with pytest.raises(TopicError) as caught:
        Topic.parse("a/" * 30_000)
    assert len(str(caught.value)) < 300
